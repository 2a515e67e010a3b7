"""What a machine gives at most: the matrix micro-kernel alone, everything in L1 cache, on all threads at once."""

from __future__ import annotations

from dataclasses import dataclass

from fusion.build.runner import Runner, run_here, runner_of, shortest_ms
from fusion.build.toolchain import RUNTIME, toolchain
from fusion.emit.c.tiling import register_tiles
from fusion.target import Target

# As in runtime/peak.c: pieces of work that the threads share in one run.
_STEPS = 120
_REPEATS = 32
# What a register tile's operands may take of the smallest L1 data cache around, 32 KiB.
_L1_BYTES = 24 << 10
_TIME_LIMIT_S = 60


@dataclass(frozen=True)
class Peak:
    """The best rate over all register tiles and runs, in 10^9 operations a second; ``tile`` is rows x vectors."""

    gflops: float
    tile: str
    threads: int


def measure_peak(target: Target, threads: int, runs: int = 40) -> Peak:
    """Runs each register tile of the target on this machine; a fraction of a second once compiled.

    The smallest time of each tile counts: all that a shared machine adds makes a run longer.

    Raises:
        DeviceError: the compiled program does not run here.
        ToolchainError: the C compiler failed.
    """
    runner = peak_runner(target)
    rates = {tile: flops / (_shortest_ms(runner, tile, threads, runs) * 1e6) for tile, flops in _work(target).items()}
    best = max(rates, key=lambda tile: rates[tile])
    return Peak(rates[best], best, threads)


def peak_runner(target: Target) -> Runner:
    """A static runner with one program for each register tile, named ``12x2``: rows x vectors."""
    tiles = " ".join(f"X({rows}, {width}, {_depth(rows, width, target)})" for rows, width in register_tiles(target))
    settings = f"#define PB_PEAK_TILES(X) {tiles}\n#define PB_PEAK_REPEATS {_REPEATS}\n"
    source = settings + (RUNTIME / "peak.c").read_text(encoding="utf-8")
    compiler = toolchain(target)
    return runner_of(compiler.executable([source]), compiler.version, tuple(_work(target)))


def _depth(rows: int, vectors: int, target: Target) -> int:
    """How long an inner dimension leaves all operands in L1."""
    columns = vectors * target.lanes
    return (_L1_BYTES // 4 - rows * columns) // (rows + columns)


def _work(target: Target) -> dict[str, int]:
    """Floating-point operations of one run of each register tile's program."""
    return {
        f"{rows}x{vectors}": _STEPS * _REPEATS * 2 * rows * vectors * target.lanes * _depth(rows, vectors, target)
        for rows, vectors in register_tiles(target)
    }


def _shortest_ms(runner: Runner, tile: str, threads: int, runs: int) -> float:
    command = runner.command(tile, threads=threads, warmup=5, runs=runs)
    return run_here(command, shortest_ms, "the machine's peak cannot be measured", _TIME_LIMIT_S)
