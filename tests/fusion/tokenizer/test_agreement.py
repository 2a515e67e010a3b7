"""Tokens in C are those of Hugging Face's library: ids, types, masks and where each token lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

from fusion.tokenizer.tokenizer_table import tokenizer_table
from tests.fusion.tokenizer import checkpoints
from tests.fusion.tokenizer.charsmap import charsmap
from tests.fusion.tokenizer.native import NativeTokenizer, compare, hugging_face_batch, is_equal_whole
from tests.fusion.tokenizer.texts import generated_texts

TEXTS, SHORT_TEXTS, SHORT, SEED = 500, 80, 60, 11
LENGTHS = (2 + 2, 9, 40)


def bert(**settings: Any) -> Callable[[], Any]:
    made = checkpoints.words if settings.get("do_lower_case", True) else checkpoints.cased_words
    return lambda: checkpoints.bert_tokenizer(made(), **settings)


def roberta(**settings: Any) -> Callable[[], Any]:
    return lambda: checkpoints.roberta_tokenizer(checkpoints.byte_pairs(), **settings)


def xlm_roberta(**settings: Any) -> Callable[[], Any]:
    return lambda: checkpoints.xlm_roberta_tokenizer(checkpoints.pieces(), **settings)


def sentence_piece(**settings: Any) -> Callable[[], Any]:
    return lambda: checkpoints.sentence_piece_tokenizer(checkpoints.pieces(), **settings)


def byte_level_alone() -> Any:
    """Without special tokens, and with spans that leave out white space."""
    tokenizer = roberta()()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


# A table whose replacements overlap, grow and vanish, in clusters of several characters.
ODD = charsmap({b"a": b"", b"b": b"xyz", "e\u0301".encode(): b"E", "\u0915".encode(): b"k a", b"  ": b" ", b"c": b"  "})
KINDS: dict[str, Callable[[], Any]] = {
    "BERT": bert(),
    "BERT cased": bert(do_lower_case=False),
    "BERT cased, ideographs together": bert(do_lower_case=False, tokenize_chinese_chars=False),
    "BERT with accents": bert(strip_accents=False),
    "BERT cased without accents": bert(do_lower_case=False, strip_accents=True),
    "RoBERTa": roberta(),
    "RoBERTa with a first space": roberta(add_prefix_space=True),
    "RoBERTa with spaces in spans": roberta(trim_offsets=False),
    "byte-level alone": byte_level_alone,
    "XLM-R": xlm_roberta(),
    "XLM-R without a first space": xlm_roberta(add_prefix_space=False),
    "XLM-R, odd replacements": xlm_roberta(charsmap=ODD),
    "SentencePiece": sentence_piece(),
    "SentencePiece, one first space": sentence_piece(
        pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first"), normaliser=normalizers.Strip()
    ),
    "SentencePiece, whole texts": sentence_piece(pre_tokenizer=pre_tokenizers.Metaspace(split=False)),
}


def short_texts(texts: Iterable[str]) -> list[str]:
    """The first short ones: of long texts the library keeps all that it cuts, in many pieces, which takes seconds."""
    return [text for text in texts if len(text) <= SHORT][:SHORT_TEXTS]


@pytest.mark.parametrize("name", KINDS)
def test_generated_texts(name: str, library: Path, tmp_path: Path) -> None:
    directory = checkpoints.saved(KINDS[name](), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    native = NativeTokenizer(library, tokenizer_table(directory))
    texts = list(generated_texts(TEXTS, SEED))
    expected = hugging_face_batch(tokenizer, texts)
    assert max(len(row.ids) for row in expected) > 200, "some texts are long"
    for text, row in zip(texts, expected, strict=True):
        assert is_equal_whole(native, text, None, row), ascii(text)
    compare(native, tokenizer, short_texts(texts), LENGTHS)
    native.close()


@pytest.mark.parametrize(
    ("kind", "padding", "cutting"),
    [(bert, "left", "right"), (bert, "right", "left"), (roberta, "left", "left"), (xlm_roberta, "left", "left")],
)
def test_padding_and_cutting_on_either_side(
    kind: Callable[..., Callable[[], Any]], padding: str, cutting: str, library: Path, tmp_path: Path
) -> None:
    made = kind(padding_side=padding, truncation_side=cutting)()
    tokenizer = AutoTokenizer.from_pretrained(checkpoints.saved(made, tmp_path))
    assert (tokenizer.padding_side, tokenizer.truncation_side) == (padding, cutting)
    native = NativeTokenizer(library, tokenizer_table(tmp_path))
    compare(native, tokenizer, short_texts(generated_texts(300, seed=5)), LENGTHS)
    native.close()


def test_how_many_tokens_were_cut_is_told(library: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoints.saved(KINDS["BERT"](), tmp_path))
    native = NativeTokenizer(library, tokenizer_table(tmp_path))
    for text in short_texts(generated_texts(300, seed=6)):
        whole = len(tokenizer(text, "two texts").input_ids)
        assert sum(native.encode(text, "two texts", 24).mask) == min(whole, 24)
        assert native.removed == max(0, whole - 24)
    native.close()
