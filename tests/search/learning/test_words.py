"""Tags of words, and words of which the tokenizer keeps nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from data.tasks import TaggedWords
from search.learning.encoding import NO_LABEL, encode
from search.learning.objectives import label_loss, predict
from tests.search.small_tasks import VOCABULARY, write_source

TAG_OF = {"cat": 1, "red": 2}


class TaggingModel(torch.nn.Module):
    """Gives every token its word's tag for sure."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_labels=3)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids: torch.Tensor, **others: Any) -> Any:
        tags = torch.tensor([TAG_OF.get(word, 0) for word in VOCABULARY])
        return SimpleNamespace(logits=torch.nn.functional.one_hot(tags[input_ids], 3).float())


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoTokenizer.from_pretrained(write_source(tmp_path_factory.mktemp("source")))


def tagged(*words: str) -> TaggedWords:
    return TaggedWords(words, tuple(TAG_OF.get(word, 0) for word in words))


def test_words_without_a_token_shift_no_tags(tokenizer: Any) -> None:
    sentences = (tagged("the", "\u200b", "cat", "\ufe0f", "red"), tagged("\u200b"), tagged("red", "\u200b"))
    encoded = encode(tokenizer, sentences, "tokens", 24)
    assert (encoded.cut, encoded.dropped) == (0, 4)
    tags = [tag for sentence in sentences for tag in sentence.tags]
    assert predict(TaggingModel(), encoded).argmax(axis=1).tolist() == tags


def test_words_that_are_cut_off_are_outside(tokenizer: Any) -> None:
    sentences = (tagged("the", "\u200b", "cat", "red", "cat"), tagged("cat"))
    encoded = encode(tokenizer, sentences, "tokens", 4)
    assert (encoded.cut, encoded.dropped) == (1, 1)
    assert predict(TaggingModel(), encoded).argmax(axis=1).tolist() == [0, 0, 1, 0, 0, 1]


def test_a_batch_without_any_tag_has_no_loss() -> None:
    batch = {"token_labels": torch.full((2, 3), NO_LABEL)}
    assert float(label_loss("tokens", torch.ones(2, 3, 4), batch)) == 0.0


def test_nothing_but_words_of_a_sentence_counts(tokenizer: Any) -> None:
    encoded = encode(tokenizer, (tagged("cat"),), "tokens", 24)
    assert np.flatnonzero(encoded.labels != NO_LABEL).tolist() == [1]
