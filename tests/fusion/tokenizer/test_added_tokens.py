"""Added tokens are found where Hugging Face's library finds them, whatever they strip and wherever they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import AutoTokenizer

from fusion.tokenizer.tokenizer_table import tokenizer_table
from tests.fusion.tokenizer import checkpoints
from tests.fusion.tokenizer.native import NativeTokenizer, hugging_face

ADDED = (
    AddedToken("[left]", lstrip=True, normalized=False),
    AddedToken("[right]", rstrip=True, normalized=False),
    AddedToken("[both]", lstrip=True, rstrip=True, normalized=False, special=True),
    AddedToken("word", single_word=True, normalized=False),
    AddedToken("wordy", normalized=False),
    AddedToken("Ünder", normalized=True),
    AddedToken("under way", single_word=True, normalized=True, lstrip=True),
    AddedToken("日本", normalized=True, rstrip=True),
    AddedToken("<ent>", normalized=False),
    AddedToken("<ent><ent>", normalized=False),
)
PARTS = st.sampled_from(
    [token.content for token in ADDED]
    + [
        "[SEP]",
        "<mask>",
        " ",
        "  ",
        "\u3000",
        "\n",
        "a",
        "_",
        "9",
        "é",
        "\u0301",
        "UNDER",
        "u\u0308nder",
        "way",
        "本",
        "-",
    ]
    + ["\u200b", "\u200d", "\x00", "word", "\u2581", "\u1680", "\x85", "\x1c"]
)
KINDS = ("bert", "roberta", "xlm-roberta")


def with_added_tokens(kind: str) -> Any:
    if kind == "bert":
        tokenizer = checkpoints.bert_tokenizer(checkpoints.words())
    elif kind == "roberta":
        tokenizer = checkpoints.roberta_tokenizer(checkpoints.byte_pairs())
    else:
        tokenizer = checkpoints.xlm_roberta_tokenizer(checkpoints.pieces())
    tokenizer.add_tokens(list(ADDED))
    return tokenizer


@pytest.fixture(scope="module", params=KINDS)
def both(request: Any, library: Path, tmp_path_factory: Any) -> tuple[NativeTokenizer, Any]:
    """The tokenizer in C and the library's, with added tokens."""
    made = with_added_tokens(request.param)
    directory = checkpoints.saved(made, tmp_path_factory.mktemp("added"))
    return NativeTokenizer(library, tokenizer_table(directory)), AutoTokenizer.from_pretrained(directory)


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(parts=st.lists(PARTS | st.characters(exclude_categories=["Cs"]), max_size=12))
def test_added_tokens_are_found(both: tuple[NativeTokenizer, Any], parts: list[str]) -> None:
    native, tokenizer = both
    text = "".join(parts)
    assert native.encode(text, None, 64) == hugging_face(tokenizer, text, None, 64)


def test_they_are_found_at_all(both: tuple[NativeTokenizer, Any]) -> None:
    native, tokenizer = both
    numbers = {tokenizer.convert_tokens_to_ids(token.content) for token in ADDED}
    text = " and ".join(token.content for token in ADDED)
    assert numbers <= set(native.encode(text).ids)
