"""Texts are changed as a recipe says, stay what a tokenizer could have made, and lose their labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from data.tasks import Kind
from search.distillation.changes import Material, changed_batch, nearest_tokens
from search.distillation.recipe import Changes
from search.learning.encoding import NO_LABEL, encode, pad_texts
from tests.search.small_tasks import SEQ_LEN, VOCABULARY, make_task, write_source

KINDS: tuple[Kind, ...] = ("classification", "regression", "tokens", "similarity")
NOTHING = Changes(0.0, 0.0, 0.0, 0.15, 0.0)


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Material]:
    """Encoded examples of each kind, with every token's neighbours and a corpus."""
    tokenizer = AutoTokenizer.from_pretrained(write_source(tmp_path_factory.mktemp("source")))
    table = torch.randn(len(VOCABULARY), 8, generator=torch.Generator().manual_seed(0))
    found: dict[Kind, Material] = {}
    for kind in KINDS:
        encoded = encode(tokenizer, make_task(60, kind).train, kind, SEQ_LEN)
        corpus = encode(tokenizer, make_task(20, kind).dev, kind, SEQ_LEN)
        neighbours = nearest_tokens(table, np.unique(encoded.tokens), np.array(tokenizer.all_special_ids))
        found[kind] = Material(encoded, neighbours, corpus, SEQ_LEN)
    return found


def shares() -> st.SearchStrategy[Changes]:
    some = st.floats(0, 0.5)
    return st.builds(Changes, some, some, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))


@settings(deadline=None)
@given(kind=st.sampled_from(KINDS), changes=shares(), seed=st.integers(0, 99))
def test_changed_texts_are_such_as_a_tokenizer_makes(
    kind: Kind, changes: Changes, seed: int, materials: dict[Kind, Material]
) -> None:
    material, examples = materials[kind], np.arange(8)
    batch, again = (changed_batch(material, examples, changes, np.random.default_rng([seed, 1])) for _ in range(2))
    own = [material.encoded.span(int(text)) for text in material.encoded.texts_of(examples)]
    assert len(batch.texts) == len(own)
    for text, repeated in zip(batch.texts, again.texts, strict=True):
        assert np.array_equal(text.tokens, repeated.tokens)
        assert 3 <= len(text.tokens) == len(text.types) <= SEQ_LEN
        assert text.tokens[0] == VOCABULARY.index("[CLS]")
        assert text.tokens[-1] == VOCABULARY.index("[SEP]")
        assert VOCABULARY.index("[PAD]") not in text.tokens
        assert list(text.types) == sorted(text.types)
    each = material.encoded.texts_each
    for example, kept in enumerate(batch.labelled):
        texts = batch.texts[example * each : (example + 1) * each]
        spans = own[example * each : (example + 1) * each]
        same = all(
            np.array_equal(text.tokens, material.encoded.tokens[span]) for text, span in zip(texts, spans, strict=True)
        )
        assert same or not kept
        if kind == "tokens" and not kept:
            assert all((text.labels == NO_LABEL).all() for text in texts if text.labels is not None)
    assert set(pad_texts(batch.texts)) >= {"input_ids", "attention_mask", "token_type_ids"}


@pytest.mark.parametrize("kind", KINDS)
def test_without_changes_texts_are_their_own(kind: Kind, materials: dict[Kind, Material]) -> None:
    batch = changed_batch(materials[kind], np.arange(6), NOTHING, np.random.default_rng(0))
    assert batch.labelled.all()
    joined = np.concatenate([text.tokens for text in batch.texts])
    assert np.array_equal(joined, materials[kind].encoded.tokens[: len(joined)])


def test_a_swapped_pair_has_its_second_text_first(materials: dict[Kind, Material]) -> None:
    material = materials["classification"]
    (text,) = changed_batch(material, np.array([0]), Changes(1.0, 0.0, 0.0, 0.0, 0.0), np.random.default_rng(0)).texts
    own = material.encoded.tokens[material.encoded.span(0)].tolist()
    separator = VOCABULARY.index("[SEP]")
    cut = own.index(separator)
    assert text.tokens.tolist() == [own[0], *own[cut + 1 : -1], separator, *own[1:cut], separator]
    assert text.types.tolist() == [0] * (len(own) - cut) + [1] * cut


def test_replaced_tokens_are_neighbours(materials: dict[Kind, Material]) -> None:
    material = materials["tokens"]
    every = Changes(0.0, 0.0, 1.0, 1.0, 0.0)
    (text,) = changed_batch(material, np.array([0]), every, np.random.default_rng(0)).texts
    own = material.encoded.tokens[material.encoded.span(0)]
    for before, after in zip(own[1:-1], text.tokens[1:-1], strict=True):
        # Of a dozen draws some hit the place where so small a vocabulary has no further neighbour.
        assert after in material.neighbours[before] or (after == before and -1 in material.neighbours[before])
    assert (own != text.tokens).sum() > len(own) // 3
    assert (text.tokens[0], text.tokens[-1]) == (own[0], own[-1])


def test_nearest_tokens_are_the_nearest_by_cosine() -> None:
    table = torch.eye(20)
    table[3] = 5 * table[7] + 0.1 * table[8]
    found = nearest_tokens(table, np.array([7]), np.array([0, 1]))
    assert found[7][0] == 3
    assert not set(found[7]) & {0, 1, 7}
    assert (np.delete(found, 7, axis=0) == -1).all()
