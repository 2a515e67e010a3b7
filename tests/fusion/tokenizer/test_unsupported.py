"""Tokenizers with a part that the C tokenizer does not know are refused by that part's name, never approximated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from data.errors import DataFileError, UnsupportedTokenizerError
from fusion.tokenizer.source import has_tokenizer
from fusion.tokenizer.tokenizer_table import tokenizer_table
from tests.fusion.tokenizer import checkpoints

WORDS = {word: number for number, word in enumerate((*checkpoints.BERT_SPECIAL, "a", "##b"))}


def tokenizer_of(model: Any = None, **parts: Any) -> Tokenizer:
    """BERT's, but for these parts."""
    tokenizer = Tokenizer(model or models.WordPiece(WORDS, unk_token="[UNK]"))
    known = {"normalizer": normalizers.BertNormalizer(), "pre_tokenizer": pre_tokenizers.BertPreTokenizer()}
    for name, part in (known | parts).items():
        if part is not None:
            setattr(tokenizer, name, part)
    return tokenizer


def unigram_of(normalizer: Any = None, pre_tokenizer: Any = pre_tokenizers.Metaspace, **settings: Any) -> Tokenizer:
    """Unigram, as it is known but for these."""
    model = models.Unigram([("[PAD]", 0.0), ("[UNK]", -1.0)], **{"unk_id": 1} | settings)
    return tokenizer_of(model, normalizer=normalizer, pre_tokenizer=pre_tokenizer and pre_tokenizer())


def saved(tokenizer: Tokenizer, folder: Path, **settings: Any) -> Path:
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]"} | settings
    return checkpoints.saved(PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named), folder)


UNSUPPORTED: dict[str, Callable[[], Tokenizer]] = {
    "model WordLevel": lambda: tokenizer_of(models.WordLevel(WORDS, unk_token="[UNK]")),
    "normalizer NFC": lambda: tokenizer_of(normalizer=normalizers.NFC()),
    "0 normalizers where one BertNormalizer is known": lambda: tokenizer_of(normalizer=None),
    "2 normalizers where one BertNormalizer is known": lambda: tokenizer_of(
        normalizer=normalizers.Sequence([normalizers.BertNormalizer(), normalizers.BertNormalizer()])
    ),
    "pre_tokenizer Whitespace": lambda: tokenizer_of(pre_tokenizer=pre_tokenizers.Whitespace()),
    "post_processor TemplateProcessing that does not hold each text once": lambda: tokenizer_of(
        post_processor=processors.TemplateProcessing(single="$A $A", pair="$A $B:1", special_tokens=[])
    ),
    "the unknown token '[WHAT]' outside of its vocabulary": lambda: tokenizer_of(
        models.WordPiece(WORDS, unk_token="[WHAT]")
    ),
    "model BPE without the byte 0x00": lambda: tokenizer_of(
        models.BPE(WORDS, []), normalizer=None, pre_tokenizer=pre_tokenizers.ByteLevel()
    ),
    "model BPE with dropout 0.5": lambda: tokenizer_of(models.BPE(WORDS, [], dropout=0.5)),
    "model Unigram without unk_id": lambda: unigram_of(unk_id=None),
    "model Unigram with byte_fallback true": lambda: unigram_of(byte_fallback=True),
    'normalizer Replace with pattern {"String": "x"}': lambda: unigram_of(normalizers.Replace("x", "y")),
    "pre_tokenizer none beside Unigram": lambda: unigram_of(pre_tokenizer=None),
    "pre_tokenizer Split": lambda: tokenizer_of(pre_tokenizer=pre_tokenizers.Split(Regex("a"), "removed")),
}


@pytest.mark.parametrize("part", UNSUPPORTED)
def test_it_is_refused_by_name(part: str, tmp_path: Path) -> None:
    directory = saved(UNSUPPORTED[part](), tmp_path)
    with pytest.raises(UnsupportedTokenizerError) as refused:
        tokenizer_table(directory)
    assert str(refused.value) == f"{directory}: a tokenizer with {part} is not known in C"


def test_without_padding_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedTokenizerError, match="no padding token"):
        tokenizer_table(saved(tokenizer_of(), tmp_path, pad_token=None))


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    directory = saved(tokenizer_of(), tmp_path)
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"split_special_tokens": True}))
    with pytest.raises(UnsupportedTokenizerError, match="split_special_tokens"):
        tokenizer_table(directory)


@pytest.mark.parametrize("content", ["", "{}", '{"model": {}}', "[1]"])
def test_a_damaged_file_is_an_error(content: str, tmp_path: Path) -> None:
    directory = saved(tokenizer_of(), tmp_path)
    (directory / "tokenizer.json").write_text(content)
    with pytest.raises(DataFileError, match="its tokenizer cannot be read"):
        tokenizer_table(directory)


def test_where_there_is_a_tokenizer(tmp_path: Path) -> None:
    assert not has_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert not has_tokenizer(tmp_path)
    assert has_tokenizer(saved(tokenizer_of(), tmp_path))


def test_a_table_of_30522_words_is_small(tmp_path: Path) -> None:
    made = {f"{'##' * (number % 2)}{number * 7919:x}": number + len(WORDS) for number in range(30_522 - len(WORDS))}
    table = tokenizer_table(saved(tokenizer_of(models.WordPiece(WORDS | made, unk_token="[UNK]")), tmp_path))
    assert len(table) < 1_200_000
