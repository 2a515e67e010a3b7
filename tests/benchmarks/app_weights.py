"""What an app carries, and what that costs: its libraries' sizes, where its weights lie, and that the emulator reads
those of phones.

    python -m tests.benchmarks.app_weights --model deep-narrow --rounds 12

First the libraries for the processor and for GPUs, by ABI. Then weights at a multiple of a cache line and a few bytes
further, for this machine's instruction set; and in code for SSE, in tiles of its own beside those of NEON, which need
twice its registers. One thread, in turn in one process; milliseconds: minima and medians. Then how long a file of
weights takes to be opened, by mapping it and by copying it from an odd place, and to be verified.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fusion import compile_model
from fusion.build.android import GPU_FAMILIES, app_libraries, phones_gpu, phones_processor
from fusion.build.machine import Processor
from fusion.build.toolchain import toolchain
from fusion.checkpoints.presets import preset_to_onnx
from fusion.compiled import CompiledModel
from fusion.planning.plan import with_precision
from fusion.target import target_named
from tests.fusion.build.sources import DESCRIPTOR, MEMORY, PATH, Library, Source

_SEQ_LEN = 128
_RUNS = 5
_OFFSETS = (0, 4, 16, 32)


class _Placed:
    """A model whose weights lie so many bytes behind a page's beginning."""

    def __init__(self, library: Library, offset: int) -> None:
        content = library.weights.read_bytes()
        self._library, self._memory = library, mmap.mmap(-1, offset + len(content))
        self._memory[offset:] = content
        self._held = (ctypes.c_char * len(self._memory)).from_buffer(self._memory)
        place = ctypes.addressof(self._held) + offset
        self._handle = library.opened(Source(MEMORY, None, -1, 0, place, len(content)), threads=1)

    def time_ms(self) -> np.ndarray:
        return self._library.time_ms(self._handle, _RUNS)


def sizes(model: CompiledModel) -> Iterator[str]:
    """Markdown: bytes of the libraries by unit, precision and ABI, and of the weights beside them."""
    yield "| unit | library, bytes | weights, bytes |"
    yield "| --- | --- | ---: |"
    for unit, machine in (("processor", phones_processor()), *((name, phones_gpu(name)) for name in GPU_FAMILIES)):
        for precision in ("fp32",) if unit == "processor" else ("fp32", "fp16"):
            program = machine.place(with_precision(model.plan, precision))
            libraries = app_libraries(program, machine, "model")
            told = ", ".join(f"{abi} {len(content)}" for abi, content in libraries.items())
            yield f"| {unit}, {precision} | {told} | {program.weight_bytes} |"


def _libraries(model: CompiledModel) -> dict[str, Library]:
    """For SSE, in tiles of its own and in those of NEON."""
    sse = target_named("x86_64-sse")
    found = {}
    for name, machine in (("SSE, its own tiles", Processor(sse)), ("SSE, tiles of NEON", phones_processor())):
        program = model.program_for(machine)
        found[name] = Library(toolchain(sse).library(machine.sources([program])), program, model.weights(machine))
    return found


def places(model: CompiledModel, rounds: int) -> Iterator[str]:
    """Markdown: times by instruction set and place."""
    libraries = {model.target.name: Library(model.library(), model.program, model.weights())} | _libraries(model)
    placed = {(name, offset): _Placed(libraries[name], offset) for name in libraries for offset in _OFFSETS}
    times: dict[tuple[str, int], list[float]] = {key: [] for key in placed}
    for _ in range(rounds):
        for key, each in placed.items():
            times[key] += [float(value) for value in each.time_ms()]
    yield "| code | bytes beyond a cache line | least ms | median ms |"
    yield "| --- | ---: | ---: | ---: |"
    for (name, offset), found in times.items():
        yield f"| {name} | {offset} | {min(found):.2f} | {np.median(found):.2f} |"


def opening(model: CompiledModel, folder: Path) -> Iterator[str]:
    """Lines of what opening and verifying take."""
    library, size = Library(model.library(), model.program, model.weights()), model.weights().stat().st_size
    odd = folder / "odd"
    odd.write_bytes(b"xx" + model.weights().read_bytes())
    whole = Source(PATH, str(model.weights()).encode())
    with odd.open("rb") as file:
        at_two = Source(DESCRIPTOR, None, file.fileno(), 2, None, size)
        work: dict[str, Callable[[], None]] = {
            "opened by mapping": lambda: library.close(library.opened(whole)),
            "opened by a copy": lambda: library.close(library.opened(at_two)),
            "verified": lambda: _verify(library, whole),
        }
        for name, call in work.items():
            call()
            began = time.perf_counter()
            call()
            yield f"{size / 1e6:.0f} MB {name}: {(time.perf_counter() - began) * 1e3:.1f} ms"


def _verify(library: Library, source: Source) -> None:
    error = library.verify(source)
    assert not error, error


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="deep-narrow")
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        model = compile_model(preset_to_onnx(options.model, Path(folder), _SEQ_LEN), seq_len=_SEQ_LEN)
        for lines in (sizes(model), places(model, options.rounds), opening(model, Path(folder))):
            for line in (*lines, ""):
                sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
