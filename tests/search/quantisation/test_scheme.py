"""int8 products against NumPy's integers, and gradients that pass straight through the rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig

from data.errors import InputError
from data.tasks import Kind
from fusion.emit.c.int8_packing import quantise_weights
from search.learning.task_models import new_model
from search.quantisation.products import in_int8, in_precision, products_of, tables_in_int8
from search.quantisation.scheme import int8_product, levels_of, limited_levels, restored


def integers_of(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 levels and fp32 scales of rows (n, k), as the compiler's runtime has them."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", over="ignore"):
        per_level = np.float32(127) / largest
    per_level[~np.isfinite(per_level)] = 0
    return np.rint(rows * per_level).astype(np.int8), largest / np.float32(127)


def product_of_integers(rows: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    own, row_scales = integers_of(rows)
    others, column_scales = integers_of(weight)
    sums = own.astype(np.int64) @ others.T.astype(np.int64)
    return sums.astype(np.float32) * (row_scales * column_scales.T) + bias


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(1, 300),
    st.integers(1, 33),
    st.sampled_from([1e-30, 1e-3, 1.0, 1e6, 1e18]),
)
def test_products_are_those_of_integers(seed: int, rows: int, inner: int, columns: int, size: float) -> None:
    random = np.random.default_rng(seed)
    # Rows and columns of very different sizes, single large values among small ones.
    own = (random.standard_normal((rows, inner)) * random.lognormal(0, 3, (rows, 1)) * size).astype(np.float32)
    own[random.random((rows, inner)) < 0.02] *= 100
    weight = (random.standard_normal((columns, inner)) * random.lognormal(0, 3, (columns, 1))).astype(np.float32)
    bias = random.standard_normal(columns).astype(np.float32)
    found = int8_product(*map(torch.from_numpy, (own, weight, bias))).numpy()
    # Sums of so few products of levels are whole numbers below 2 ** 24, which fp32 holds.
    np.testing.assert_array_equal(found, product_of_integers(own, weight, bias))


def test_weights_are_quantised_as_the_compiler_does() -> None:
    """It divides where this multiplies: hardly a weight in a hundred thousand is so near the middle of two levels."""
    weight = torch.randn(320, 384, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 320)[:, None]
    levels, scales = levels_of(weight)
    expected, column_scales = quantise_weights(weight.T.numpy(), None)
    np.testing.assert_array_equal(scales[:, 0].numpy(), column_scales)
    assert (levels.T.numpy() != expected).sum() <= 2


def test_pairs_are_limited_as_the_compiler_does() -> None:
    """What x86 without dot products computes, exactly."""
    random = np.random.default_rng(0)
    rows, weight = (random.standard_normal(shape).astype(np.float32) for shape in ((7, 96), (20, 96)))
    levels, scales = quantise_weights(weight.T, 128)
    own, row_scales = integers_of(rows)
    expected = (own.astype(np.int64) @ levels.astype(np.int64)).astype(np.float32) * (row_scales * scales)
    limited = limited_levels(torch.from_numpy(weight), 128)
    found = int8_product(torch.from_numpy(rows), torch.from_numpy(weight), None, limited).numpy()
    np.testing.assert_array_equal(found, expected)
    pairs = limited[0].numpy().reshape(20, 48, 2)
    assert (np.abs(pairs.sum(axis=2)).max() <= 128) and (np.abs(pairs).sum(axis=2).max() > 128)


def test_long_sums_are_equal_to_the_rounding_of_fp32() -> None:
    own = np.tile(np.array([[127.0], [-127.0], [1.0]], np.float32), (1, 4096))
    own[2, 1:] = 0.25
    found = int8_product(*map(torch.from_numpy, (own, own, np.zeros(3, np.float32)))).numpy()
    np.testing.assert_allclose(found, product_of_integers(own, own, np.zeros(3, np.float32)), rtol=1e-6)


def test_rows_of_nothing_and_of_nearly_nothing() -> None:
    rows = torch.tensor([[0.0, 0.0, 0.0], [1e-42, -1e-42, 0.0], [127.0, 0.5, -1.5], [1.0, -1.0, 0.5]])
    levels, scales = levels_of(rows)
    assert levels.tolist() == [[0, 0, 0], [0, 0, 0], [127, 0, -2], [127, -127, 64]]
    assert scales[[0, 2], 0].tolist() == [0, 1]
    assert int8_product(rows, rows, None).isfinite().all()


def test_what_lies_on_levels_stays_there() -> None:
    rows = restored(torch.randn(64, 33, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(restored(rows), rows, rtol=0, atol=0)


def test_gradients_pass_straight_through() -> None:
    random = torch.Generator().manual_seed(0)
    rows, weight = (torch.randn(*shape, generator=random).requires_grad_() for shape in ((5, 40), (16, 40)))
    wanted = torch.randn(5, 16, generator=random)
    found = torch.autograd.grad((int8_product(rows, weight, None) * wanted).sum(), (rows, weight))
    as_if = [each.detach().requires_grad_() for each in (restored(rows), restored(weight))]
    expected = torch.autograd.grad((as_if[0] @ as_if[1].T * wanted).sum(), as_if)
    torch.testing.assert_close(found, expected)


def model_of(kind: Kind, labels: int = 2) -> torch.nn.Module:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = BertConfig(vocab_size=40, num_labels=labels, **sizes)
    torch.manual_seed(0)
    return new_model(config, kind).eval()


@pytest.mark.parametrize(
    ("kind", "labels", "heads"),
    [
        ("classification", 2, {"bert.pooler.dense": 24 * 24}),
        ("classification", 20, {"bert.pooler.dense": 24 * 24, "classifier": 24 * 20}),
        ("tokens", 20, {"classifier": 128 * 24 * 20}),
        ("tokens", 15, {}),
        ("similarity", 0, {}),
    ],
)
def test_products_of_all_kinds_of_models(kind: Kind, labels: int, heads: dict[str, int]) -> None:
    found = {product.name: product.multiplications for product in products_of(model_of(kind, labels))}
    layer = {"attention.self": 3 * 576, "attention.output.dense": 576, "intermediate.dense": 1152, "output.dense": 1152}
    encoder = {f"bert.encoder.layer.{n}.{name}": 128 * count for n in (0, 1) for name, count in layer.items()}
    if kind == "classification":
        # Of the last layer only the first token is read, but for keys and values.
        first = {name: count // 128 for name, count in encoder.items() if ".1." in name}
        encoder |= first | {"bert.encoder.layer.1.attention.self": (2 * 128 + 1) * 576}
    assert found == encoder | heads


def answers(model: torch.nn.Module) -> np.ndarray:
    ids = torch.arange(1, 31).reshape(2, 15)
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.numpy()


def test_a_model_is_int8_only_within_the_context() -> None:
    model = model_of("classification")
    before = answers(model)
    with in_precision(model, "int8"):
        within = answers(model)
    assert 0 < np.abs(within - before).max() < 0.05
    np.testing.assert_array_equal(answers(model), before)
    names = [name for product in products_of(model) for name in product.modules]
    with tables_in_int8(model):
        tables_alone = answers(model)
    with in_precision(model, "int8", fp32=names):
        np.testing.assert_array_equal(answers(model), tables_alone)
    with in_precision(model, "fp32"):
        np.testing.assert_array_equal(answers(model), before)


def test_all_products_together_are_int8() -> None:
    """One after another is the same as all at once, and each of them changes the answers."""
    model = model_of("classification")
    with in_precision(model, "int8"):
        together = answers(model)
    with tables_in_int8(model):
        seen = [answers(model)]
    names = [name for product in products_of(model) for name in product.modules]
    for count in range(1, len(names) + 1):
        with in_int8(model, names[:count]), tables_in_int8(model):
            seen.append(answers(model))
        assert (seen[-1] != seen[-2]).any(), names[count - 1]
    np.testing.assert_array_equal(seen[-1], together)


def test_names_of_no_product_are_refused() -> None:
    model = model_of("classification")
    with pytest.raises(InputError, match=r"int8: bert\.encoder, classifier"):
        in_precision(model, "int8", ["classifier", "bert.encoder"]).__enter__()


def test_tables_are_int8_only_within_the_context() -> None:
    model = model_of("classification")
    before, table = answers(model), model.get_submodule("bert.embeddings.word_embeddings")
    ids = torch.arange(1, 16)
    with tables_in_int8(model):
        levels, scales = integers_of(table.weight.detach().numpy()[ids])
        np.testing.assert_array_equal(table(ids).detach().numpy(), levels * scales)
        assert (answers(model) != before).any()
        table(ids).sum().backward()
    assert table.weight.grad[ids].numpy() == pytest.approx(1.0, rel=1e-6), "straight through"
    np.testing.assert_array_equal(answers(model), before)
