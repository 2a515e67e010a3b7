"""Memory known from an architecture: what programs and open models really hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.architecture import HEADS, Architecture, Head
from fusion import compile_model, host_target, target_named
from fusion.build.machine import Gpu
from fusion.emit.c.program import build_program, ready_count, scratch_bytes
from fusion.emit.memory import memory_bytes
from fusion.emit.named import OPENCL, emitter_named
from fusion.emit.opencl.family import FAMILIES
from fusion.emit.program import place
from fusion.planning.architecture_plan import architecture_plan
from fusion.target import TARGETS
from tests.fusion.models import export

pytestmark = pytest.mark.usefixtures("shared_home")

SHAPES: Sequence[tuple[int, int, int, int, Head]] = (
    (1, 64, 2, 128, "sequence"),
    (2, 96, 3, 100, "tokens"),
    (5, 48, 4, 300, "sequence"),
    (9, 64, 1, 64, "embedding"),
)


@st.composite
def shapes(draw: st.DrawFn) -> Architecture:
    """Also such whose feed-forward part is narrower than the model, and one-token sequences."""
    heads, head = draw(st.integers(1, 8)), draw(st.sampled_from(HEADS))
    return Architecture(
        layers=1,
        hidden=heads * draw(st.integers(1, 64)),
        heads=heads,
        intermediate=draw(st.integers(1, 1000)),
        vocab_size=draw(st.integers(1, 3000)),
        seq_len=draw(st.integers(1, 300)),
        token_types=draw(st.integers(1, 2)),
        labels=1 if head == "embedding" else draw(st.integers(1, 700)),
        head=head,
    )


def laid_out(architecture: Architecture, name: str, threads: int) -> int:
    """As the runtime counts, from the program's own tables."""
    if name.startswith(OPENCL):
        on_gpu = place(architecture_plan(architecture), emitter_named(name))
        return on_gpu.weight_bytes + on_gpu.arena_bytes
    program = build_program(architecture_plan(architecture), target_named(name))
    counters = 4 * (ready_count(program) + 1) + 24 * (len(program.steps) + 1)
    return 64 + program.weight_bytes + program.arena_bytes + scratch_bytes(program) * threads + counters


CODES = (*sorted(TARGETS), *(f"{OPENCL}{family}" for family in FAMILIES))


# Of these the first takes the places of an earlier layer from the fourth on only.
LATE = Architecture(1, 28, 4, 1, vocab_size=1, seq_len=1, labels=145)
PLAIN = Architecture(1, 64, 2, 128, vocab_size=300, seq_len=40)


@settings(max_examples=15, deadline=None)
@example([LATE, PLAIN], "aarch64-lse", 1)
@example([replace(LATE, labels=300), LATE], "x86_64-avx2", 2)
@given(st.lists(shapes(), min_size=1, max_size=2), st.sampled_from(CODES), st.integers(1, 8))
def test_memory_is_that_of_the_program_at_any_depth(models: list[Architecture], name: str, threads: int) -> None:
    wanted = [replace(model, layers=layers) for model in models for layers in (1, 2, 3, 4, 7, 16)]
    found = memory_bytes(wanted, emitter_named(name), threads)
    assert list(found) == [laid_out(model, name, threads) for model in wanted]


@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_running_model_holds_so_much(sizes: tuple[int, int, int, int, Head], threads: int, tmp_path: Path) -> None:
    *numbers, head = sizes
    labels = 1 if head == "embedding" else 3
    architecture = Architecture(*numbers, vocab_size=300, seq_len=40, labels=labels, head=head)
    model = compile_model(export(architecture, tmp_path), seq_len=40, threads=threads)
    model.time(warmup=1, runs=2)
    execution = model.summary.execution
    assert execution is not None
    emitter = emitter_named(host_target().name)
    assert memory_bytes([architecture], emitter, threads) == (execution.model_bytes,)


def test_a_running_model_on_the_gpu_holds_so_much(gpu: Gpu, tmp_path: Path) -> None:
    architecture = Architecture(2, 48, 3, 80, vocab_size=300, seq_len=20)
    model = compile_model(export(architecture, tmp_path), seq_len=20, unit="gpu")
    model.time(warmup=0, runs=1)
    execution = model.summary.execution
    assert execution is not None
    assert memory_bytes([architecture], emitter_named(gpu.code), 1) == (execution.model_bytes,)
