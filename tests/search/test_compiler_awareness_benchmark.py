"""The benchmark of sources of latency, on doubles: what is right finds all, what is blind finds less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from search.optimization.space import SearchSpace
from search.stages import Predictor
from tests.benchmarks.compiler_awareness import Setting, judge, table
from tests.search.doubles import TEACHER, FakePredictor, true_ms

BUDGET_MS = 0.4


def setting() -> Setting:
    space = SearchSpace.from_teacher(TEACHER, seq_len=64, labels=2)
    fused = FakePredictor(later=0.0)
    blind: dict[str, Predictor] = {
        name: replace(fused, source=name, teacher=space.template) for name in ("flops", "unfused")
    }
    return Setting(
        title="a device",
        space=space,
        candidates=space.architectures(),
        true_ms=np.array([true_ms(each) for each in space.architectures()]),
        teacher_ms=true_ms(space.template),
        later=0.0,
        sources={"fused": fused, **blind},
        remark="A remark",
    )


def test_a_source_that_is_right_finds_all_and_loses_nothing() -> None:
    found = judge(setting(), FakePredictor(later=0.0), BUDGET_MS)
    assert found.believed > 0 and found.precision == found.recall == 1
    assert found.mape < 1e-9 and found.spearman > 0.999
    within = [each for each in setting().candidates if true_ms(each) <= BUDGET_MS / 1.03]
    assert found.encoder >= 0.95 * max(each.encoder_parameters for each in within)
    assert found.later == found.encoder, "nothing is learnt"


def test_one_that_is_blind_finds_less() -> None:
    world = setting()
    fused, flops = (judge(world, world.sources[name], BUDGET_MS) for name in ("fused", "flops"))
    assert flops.precision <= 0.5 and flops.recall < 0.5 and flops.mape > 0.05
    assert flops.admitted < fused.admitted and flops.encoder <= fused.encoder
    # Once it knows better it proposes as the right one does.
    learning = replace(world, learn=lambda source, architectures: world.sources["fused"])
    assert judge(learning, world.sources["flops"], BUDGET_MS).later >= 0.95 * fused.encoder


def test_the_table_has_a_line_for_each_budget_and_source() -> None:
    lines = list(table(setting()))
    rows = [line for line in lines if line.startswith("|")][2:]
    assert len(rows) == 5 * 3 and len({row.count("|") for row in rows}) == 1
    assert sum(row.startswith("| 1/") for row in rows) == 5
    assert "fused off by 0.0% (MAPE), Spearman 1.0000" in lines[1]
