"""What stays fp32: the dearest products, until the answers are near enough, and never more than a tenth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertConfig

from data.tasks import Kind
from search.learning.int8_choice import int8_choice
from search.learning.task_models import name_labels, new_model, save_model
from search.quantisation.products import products_of
from search.quantisation.sensitivity import choose_fp32, costs_of
from tests.search.small_tasks import make_task, write_source

DEAREST, NEXT = "bert.encoder.layer.11.output.dense", "bert.encoder.layer.2.attention.output.dense"


def outliers_in(model: torch.nn.Module, *names: str) -> None:
    """Single weights of these products so large that next to nothing of the others is left in int8."""
    for number, name in enumerate(names):
        weight = model.get_submodule(name).weight.data
        weight[:, number] = 40.0 * weight.abs().max()


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """Twelve layers, two products of which bear no int8."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 12, "num_attention_heads": 2, "intermediate_size": 64}
    found = new_model(BertConfig(vocab_size=40, **sizes), "tokens").eval()
    outliers_in(found, DEAREST, NEXT)
    return found


def distance_of(model: Any) -> Callable[[], float]:
    ids = torch.randint(1, 40, (16, 12), generator=torch.Generator().manual_seed(0))

    def answers() -> torch.Tensor:
        with torch.inference_mode():
            found: torch.Tensor = model.bert(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        return found

    wanted = answers()
    return lambda: float((answers() - wanted).square().mean())


def test_every_product_is_tried_alone_and_the_dearest_come_first(model: torch.nn.Module) -> None:
    costs = costs_of(model, distance_of(model))
    assert costs[0].modules == (DEAREST,) and costs[1].modules == (NEXT,)
    assert costs[0].divergence > 3 * costs[2].divergence
    assert [cost.divergence for cost in costs] == sorted((cost.divergence for cost in costs), reverse=True)
    assert {cost.modules for cost in costs} == {product.modules for product in products_of(model)}
    assert sum(cost.share for cost in costs) == pytest.approx(1)


def test_the_dearest_go_back_to_fp32_until_the_limit_holds(model: torch.nn.Module) -> None:
    distance = distance_of(model)
    undivided = choose_fp32(model, distance, limit=1e9)
    assert undivided.fp32 == () and undivided.share == 0 and undivided.divergence == undivided.undivided > 0
    one = choose_fp32(model, distance, limit=0.9 * undivided.undivided)
    assert one.fp32 == (DEAREST,)
    assert one.divergence <= one.limit < one.undivided
    two = choose_fp32(model, distance, limit=one.divergence * 0.9)
    assert two.fp32[:2] == (DEAREST, NEXT)
    assert two.divergence < one.divergence
    assert distance() == 0, "the model is as it was"


def test_never_more_than_a_tenth_stays_fp32(model: torch.nn.Module) -> None:
    found = choose_fp32(model, distance_of(model), limit=0)
    assert 0.05 < found.share <= 0.1
    shares = {cost.modules: cost.share for cost in found.costs}
    assert found.share == pytest.approx(sum(shares[modules] for modules in shares if {*modules} <= {*found.fp32}))
    # What is too large is passed over, and smaller ones still find room.
    small = choose_fp32(model, distance_of(model), limit=0, most_share=shares[(NEXT,)] * 1.01)
    assert small.fp32 and DEAREST not in small.fp32 and small.share <= shares[(NEXT,)] * 1.01
    assert small.divergence > small.limit


@pytest.mark.parametrize("kind", ["classification", "regression", "tokens", "similarity"])
def test_checkpoints_of_all_kinds_by_their_training_examples(kind: Kind, tmp_path: Path) -> None:
    task = replace(make_task(96, kind), dev=())
    tokenizer = AutoTokenizer.from_pretrained(write_source(tmp_path / "source"))
    config = BertConfig.from_pretrained(tmp_path / "source")
    name_labels(config, task.label_names)
    save_model(new_model(config, kind), kind, tokenizer, tmp_path / "model", 24)
    found = int8_choice(tmp_path / "model", task, 24)
    assert found.fp32 == () and 0 < found.divergence < found.limit
    strict = int8_choice(tmp_path / "model", task, 24, limit=found.divergence / 2)
    assert strict.costs == found.costs and strict.undivided == found.undivided
    assert strict.fp32 and strict.divergence < found.divergence
