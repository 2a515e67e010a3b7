"""Architectures: what they hold, how they are written down, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification, BertModel

from data.architecture import Architecture
from data.errors import InputError

SIZES: dict[str, Any] = {"layers": 3, "hidden": 24, "heads": 2, "intermediate": 40, "vocab_size": 70, "seq_len": 8}
CONFIG = BertConfig(
    num_hidden_layers=3, hidden_size=24, num_attention_heads=2, intermediate_size=40, vocab_size=70, num_labels=5
)


def test_parameters_are_those_of_the_checkpoint_of_each_head() -> None:
    checkpoints = {
        Architecture(**SIZES, labels=5): BertForSequenceClassification(CONFIG),
        Architecture(**SIZES, labels=5, head="tokens"): BertForTokenClassification(CONFIG),
        Architecture(**SIZES, labels=1, head="embedding"): BertModel(CONFIG, add_pooling_layer=False),
    }
    for architecture, model in checkpoints.items():
        assert architecture.parameters == sum(tensor.numel() for tensor in model.parameters())


def test_what_is_written_down_is_read_again() -> None:
    heads = (
        Architecture(**SIZES),
        Architecture(**SIZES, head="tokens"),
        Architecture(**SIZES, labels=1, head="embedding"),
    )
    assert [Architecture.from_dict(one.to_dict()) for one in heads] == list(heads)
    assert [one.name for one in heads] == ["3x24-h2-f40", "3x24-h2-f40-tokens", "3x24-h2-f40-embedding"]
    assert len({one.to_json() for one in heads}) == len(heads)


def test_a_classifier_of_sequences_is_written_as_before_there_were_other_heads() -> None:
    expected = (
        '{"heads":2,"hidden":24,"intermediate":40,"labels":2,"layers":3,"max_positions":512,"seq_len":8,'
        '"token_types":2,"vocab_size":70}'
    )
    assert Architecture(**SIZES).to_json() == expected


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"head": "words"}, "head must be one of sequence, tokens, embedding, not 'words'"),
        ({"head": None}, "not None"),
        ({"head": "embedding"}, "labels of an embedding must be 1, not 2"),
        ({"labels": 0, "head": "tokens"}, "labels must be a positive whole number, not 0"),
        ({"hidden": 2.0}, "hidden must be a positive whole number, not 2.0"),
        ({"seq_len": 513}, "seq_len 513 exceeds max_positions 512"),
    ],
)
def test_what_is_no_architecture_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Architecture(**SIZES | changes)
