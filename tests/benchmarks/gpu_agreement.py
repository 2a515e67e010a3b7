"""Models on this machine's OpenCL driver against ONNX Runtime: how far apart they are, and whether they decide alike.

    python -m tests.benchmarks.gpu_agreement --models bert-base,mobilebert --lengths 1,128,512

Random weights, one text for each length that is used: all of it, half of it padded, one token. The difference is the
largest of any output, as a share of what that output reaches; labels are told to be equal where the two highest scores
are further apart than twice that.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import onnxruntime

from fusion.build.machine import Gpu, host_gpu
from fusion.compare.engines import ModelFiles
from fusion.compiled import CompiledModel, compile_model
from tests.benchmarks.models import PUBLISHED, model_files

_LENGTHS, _PRECISIONS = (1, 2, 17, 128, 384, 512), ("fp32", "fp16")


def texts(compiled: CompiledModel, seq_len: int) -> Iterator[dict[str, np.ndarray]]:
    """Random ids: all positions in use, half of them, one."""
    random = np.random.default_rng(seq_len)
    ids = next(port.limit for port in compiled.program.inputs if port.name == "input_ids")
    for used in sorted({1, max(1, seq_len // 2), seq_len}):
        mask = (np.arange(seq_len) < used)[None].astype(np.int64)
        yield {"input_ids": random.integers(0, ids, (1, seq_len)) * mask, "attention_mask": mask}


def apart(files: ModelFiles, compiled: CompiledModel) -> tuple[float, int, int]:
    """The largest difference as a share of the output's reach; rows that decide alike, of those that are clear."""
    session = onnxruntime.InferenceSession(str(files.onnx), providers=["CPUExecutionProvider"])
    names = {port.name for port in session.get_inputs()}
    largest, alike, clear = 0.0, 0, 0
    for inputs in texts(compiled, files.seq_len):
        given = inputs | {name: np.zeros_like(inputs["input_ids"]) for name in names - set(inputs)}
        expected = session.run(None, {name: given[name] for name in names})
        for made, right in zip(compiled.run(inputs), expected, strict=True):
            reach = max(float(np.ptp(right)), float(np.abs(right).max()))
            difference = float(np.abs(made - right).max()) / reach
            largest = max(largest, difference)
            rows, others = right.reshape(-1, right.shape[-1]), made.reshape(-1, right.shape[-1])
            gap = np.ptp(np.sort(rows, axis=-1)[:, -2:], axis=-1)
            told = gap > 2 * difference * reach
            clear += int(told.sum())
            alike += int((rows.argmax(-1) == others.argmax(-1))[told].sum())
    return largest, alike, clear


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(PUBLISHED))
    parser.add_argument("--lengths", default=",".join(map(str, _LENGTHS)))
    parser.add_argument("--precisions", default=",".join(_PRECISIONS))
    given = parser.parse_args()
    gpu: Gpu = host_gpu()
    print(f"{gpu.device}, {gpu.version}, family {gpu.family.name}\n")
    print("| model | tokens | precision | launches | largest difference / reach | rows that decide alike |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for name in given.models.split(","):
        for seq_len in map(int, given.lengths.split(",")):
            files = model_files(name, seq_len)
            for precision in given.precisions.split(","):
                compiled = compile_model(files.onnx, seq_len=seq_len, unit="gpu", precision=precision)
                difference, alike, clear = apart(files, compiled)
                launches = compiled.summary.launches
                print(
                    f"| {name} | {seq_len} | {precision} | {launches} | {difference:.1e} | {alike} of {clear} |",
                    flush=True,
                )
                compiled.close()


if __name__ == "__main__":
    main()
