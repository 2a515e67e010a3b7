"""Small random models of each family with tokenizers of its own kind, as transformers saves them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

TEXTS = (
    "a red cat",
    "The blue dog sees two green cows",
    "no hen is pink",
    "cows and cats are not dogs",
    "Ünder a tree",
)
PAIRS = tuple((first, TEXTS[index - 1]) for index, first in enumerate(TEXTS))
HIDDEN, POSITIONS = 48, 64
_ROBERTA_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_ALBERT_SPECIAL = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")


@cache
def word_pieces() -> Mapping[str, int]:
    letters = sorted({letter for text in TEXTS for letter in text.lower()} - {" "} | {"u"})
    words = sorted({word for text in TEXTS for word in text.lower().split()[:3]})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *words]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


@cache
def byte_pairs() -> tuple[Mapping[str, int], Sequence[tuple[str, str]]]:
    """Vocabulary and merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=list(_ROBERTA_SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


@cache
def sentence_pieces(special: tuple[str, ...], unknown: str) -> Sequence[tuple[str, float]]:
    """Pieces with their scores, the special ones first."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=80, special_tokens=list(special), unk_token=unknown, show_progress=False
    )
    tokenizer.train_from_iterator([*TEXTS, *(text.lower() for text in TEXTS)], trainer)
    return [tuple(piece) for piece in json.loads(tokenizer.to_str())["model"]["vocab"]]


def _word_piece_tokenizer() -> Any:
    return transformers.BertTokenizer(dict(word_pieces()))


def _byte_pair_tokenizer() -> Any:
    vocabulary, merges = byte_pairs()
    return transformers.RobertaTokenizer(vocab=dict(vocabulary), merges=list(merges))


def _xlm_tokenizer() -> Any:
    return transformers.XLMRobertaTokenizer(vocab=list(sentence_pieces(_ROBERTA_SPECIAL, "<unk>")))


def _camembert_tokenizer() -> Any:
    return transformers.CamembertTokenizer(vocab=list(sentence_pieces(_ROBERTA_SPECIAL, "<unk>")))


def _albert_tokenizer() -> Any:
    return transformers.AlbertTokenizer(vocab=list(sentence_pieces(_ALBERT_SPECIAL, "<unk>")))


_BERT_SIZES = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": POSITIONS,
}
_ROBERTA_SIZES = _BERT_SIZES | {"type_vocab_size": 1, "layer_norm_eps": 1e-5}
_DISTILBERT_SIZES = {
    "dim": HIDDEN,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 96,
    "max_position_embeddings": POSITIONS,
}
# Name: the classes' prefix, sizes, tokenizer.
FAMILIES: Mapping[str, tuple[str, Mapping[str, Any], Callable[[], Any]]] = {
    "bert": ("Bert", _BERT_SIZES, _word_piece_tokenizer),
    "multilingual bert": ("Bert", _BERT_SIZES | {"hidden_act": "relu"}, _xlm_tokenizer),
    "distilbert": ("DistilBert", _DISTILBERT_SIZES, _word_piece_tokenizer),
    "roberta": ("Roberta", _ROBERTA_SIZES, _byte_pair_tokenizer),
    "roberta of two types": ("Roberta", _ROBERTA_SIZES | {"type_vocab_size": 2}, _byte_pair_tokenizer),
    "xlm-roberta": ("XLMRoberta", _ROBERTA_SIZES, _xlm_tokenizer),
    "camembert": ("Camembert", _ROBERTA_SIZES, _camembert_tokenizer),
    "electra": ("Electra", _BERT_SIZES | {"embedding_size": HIDDEN}, _word_piece_tokenizer),
    "small electra": ("Electra", _BERT_SIZES | {"embedding_size": 16}, _word_piece_tokenizer),
    "albert": ("Albert", _BERT_SIZES | {"embedding_size": 16}, _albert_tokenizer),
    "albert of groups": (
        "Albert",
        _BERT_SIZES | {"embedding_size": HIDDEN, "num_hidden_layers": 5, "num_hidden_groups": 2, "inner_group_num": 2},
        _albert_tokenizer,
    ),
}


def save_pretrained(name: str, folder: Path, head: str = "Model", **settings: Any) -> Any:
    """Writes a model of a family with its tokenizer; returns the model, evaluating.

    Args:
        name: One of ``FAMILIES``.
        folder: Where to.
        head: What its class's name ends with.
        settings: Of its configuration.
    """
    prefix, sizes, make_tokenizer = FAMILIES[name]
    tokenizer = make_tokenizer()
    own = {"vocab_size": len(tokenizer.get_vocab()), "pad_token_id": tokenizer.pad_token_id}
    config = getattr(transformers, f"{prefix}Config")(**own | dict(sizes) | settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{prefix}{head}")(config)
        with torch.no_grad():
            # Far from its initialisation, where no bias or gain would be missed.
            for weights in model.parameters():
                weights.add_(0.2 * torch.randn_like(weights))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval()
