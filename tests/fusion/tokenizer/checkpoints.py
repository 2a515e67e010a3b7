"""Directories of tokenizers, with vocabularies that are trained here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from tests.fusion.tokenizer.charsmap import compatibility_charsmap
from tests.fusion.tokenizer.texts import generated_texts
from tests.support import ROOT

BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_RARE = 8
_PAGES = 5

BytePairs = tuple[dict[str, int], list[tuple[str, str]]]


def training_texts() -> list[str]:
    """English of this repository, and every script as it is generated."""
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))[:_PAGES]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    return [*lines, *generated_texts(800, seed=0)]


@cache
def words() -> dict[str, int]:
    """Word pieces in lower case."""
    return train_word_pieces(training_texts(), 5000)


@cache
def cased_words() -> dict[str, int]:
    """Word pieces as they are written."""
    return train_word_pieces(training_texts(), 5000, lowers=False)


@cache
def byte_pairs() -> BytePairs:
    """Tokens of byte-level BPE, and their merges."""
    return train_byte_pairs(training_texts(), 1500)


@cache
def pieces() -> Sequence[tuple[str, float]]:
    """Pieces of Unigram with their scores."""
    return train_unigrams(training_texts(), 1500)


def train_word_pieces(texts: Iterable[str], size: int, lowers: bool = True) -> dict[str, int]:
    """A vocabulary of so many word pieces, of texts as BERT normalises them."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowers)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=list(BERT_SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.get_vocab()


def train_byte_pairs(texts: Iterable[str], size: int) -> BytePairs:
    """A vocabulary of so many tokens, and merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(ROBERTA_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def train_unigrams(
    texts: Iterable[str], size: int, special: Sequence[str] = ROBERTA_SPECIAL
) -> list[tuple[str, float]]:
    """So many pieces with their scores, of texts as NFKC has them; rare characters have none, and are unknown."""
    texts = list(texts)
    counts = Counter("".join(texts))
    rare = {ord(one): None for one, count in counts.items() if count < _RARE}
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Precompiled(compatibility_charsmap())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=list(ROBERTA_SPECIAL), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([text.translate(rare) for text in texts], trainer)
    return [tuple(piece) for piece in json.loads(tokenizer.to_str())["model"]["vocab"]]


def bert_tokenizer(vocabulary: dict[str, int], **settings: Any) -> Any:
    """BERT's own class."""
    return transformers.BertTokenizer(dict(vocabulary), **settings)


def roberta_tokenizer(byte_pairs: BytePairs, **settings: Any) -> Any:
    """RoBERTa's own class."""
    vocabulary, merges = byte_pairs
    return transformers.RobertaTokenizer(vocab=dict(vocabulary), merges=list(merges), **settings)


def xlm_roberta_tokenizer(pieces: Sequence[tuple[str, float]], charsmap: bytes | None = None, **settings: Any) -> Any:
    """XLM-R's own class, with SentencePiece's normalisation."""
    own = compatibility_charsmap() if charsmap is None else charsmap
    return transformers.XLMRobertaTokenizer(vocab=list(pieces), _spm_precompiled_charsmap=own, **settings)


def sentence_piece_tokenizer(
    pieces: Sequence[tuple[str, float]], normaliser: Any = None, pre_tokenizer: Any = None, **settings: Any
) -> Any:
    """Unigram with other parts than XLM-R's class has: as converted SentencePiece models have them, unless told."""
    tokenizer = Tokenizer(models.Unigram(list(pieces), unk_id=ROBERTA_SPECIAL.index("<unk>")))
    tokenizer.normalizer = normaliser or normalizers.Sequence(
        [
            normalizers.Precompiled(compatibility_charsmap()),
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(_several_spaces(), "\u2581"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, mask_token="<mask>", **settings)


def _several_spaces() -> Any:
    from tokenizers import Regex

    return Regex(" {2,}")


def saved(tokenizer: Any, folder: Path) -> Path:
    """The folder, with the tokenizer in it as transformers saves it."""
    tokenizer.save_pretrained(folder)
    return folder
