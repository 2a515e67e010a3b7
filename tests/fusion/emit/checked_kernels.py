"""Runs a small model's kernels, those of every family of GPUs, by the driver that POCKETBERT_OPENCL names: a simulator
that looks for races and accesses out of bounds, where it is run by the tests.

    python -m tests.fusion.emit.checked_kernels MODEL.onnx SEQ_LEN INPUTS.npz OUTPUTS.npz
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from fusion.build.library import NativeModel
from fusion.build.toolchain import toolchain
from fusion.emit.opencl.family import FAMILIES
from fusion.emit.opencl.program import OpenClEmitter, emit_gpu_table
from fusion.emit.program import place
from fusion.emit.weights import write_weights
from fusion.frontend.source import Source
from fusion.planning.plan import plan_graph, with_precision
from fusion.target import host_target

_TEXELS = 1 << 20


def main() -> None:
    onnx, seq_len, given, made = sys.argv[1:]
    source, inputs = Source(Path(onnx), int(seq_len)), dict(np.load(given))
    outputs = {}
    for fuse in (True, False):
        plan = plan_graph(source.graph(), fuse=fuse)
        for family in FAMILIES.values():
            for precision in ("fp32", "fp16"):
                program = place(with_precision(plan, precision), OpenClEmitter(family, _TEXELS))
                library = toolchain(host_target()).gpu_library([emit_gpu_table([program], family)])
                with tempfile.TemporaryDirectory() as folder:
                    constants = source.weighted_graph().constants
                    weights = write_weights(program, constants, Path(folder) / "weights.bin")
                    native = NativeModel(library, weights, program, 1)
                    for number, output in enumerate(native.run(inputs)):
                        outputs[f"{family.name} {precision} {fuse} {number}"] = output
                    native.close()
    np.savez(made, **outputs)


if __name__ == "__main__":
    main()
