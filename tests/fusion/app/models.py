"""Small models with tokenizers of their own, as Hugging Face directories."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from tests.fusion.families import random_model

# Of two texts the second stands behind a tab.
TEXTS = (
    "A great film, moving and funny.",
    "Dull: the plot was cold\tand the ending hollow",
    "café naïve Ångström 北京 🎬 e\u0301te\u0301",
    "",
    "the " * 60 + "end",
    "[SEP] <s> brilliant </s>",
    "an honest story\tthe " + "very " * 70 + "long pair",
)
CORPUS = tuple(text.replace("\t", " ") for text in TEXTS) + ("A dull, hollow film; a moving story of the end.",)
ENTITIES = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "ORG-NAME"}
WORDS = 200
_NORMALISER = normalizers.BertNormalizer()


def save_model(
    folder: Path, family: str, head: str, tokenizer_settings: Mapping[str, Any] = MappingProxyType({}), **settings: Any
) -> Path:
    """A random model of a family with a tokenizer of its own; ``settings`` go into its ``config.json``.

    Normalised numbers keep their size, so that answers differ by text.
    """
    tokenizer = _TOKENIZERS.get(family, _word_pieces)(**tokenizer_settings)
    changes = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "pad_token_id": tokenizer.pad_token_id}
    model = random_model(family, head, **changes)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.lower().endswith("norm.weight"):
                weight.add_(1)
    if head == "tokens":
        _find_entities_in_half(model, tokenizer)
        settings |= {"id2label": ENTITIES, "label2id": {name: index for index, name in ENTITIES.items()}}
    for name, value in settings.items():
        setattr(model.config, name, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _find_entities_in_half(model: Any, tokenizer: Any) -> None:
    """Shift the first label's bias until about half of the tokens of the first text are entities, none by a hair."""
    tokens = tokenizer(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        logits = model.eval()(**tokens).logits[0, 1:-1]
        margins = (logits[:, 0] - logits[:, 1:].max(dim=1).values).sort().values
        middle = margins[len(margins) // 4 : -(len(margins) // 4)]
        widest = int((middle[1:] - middle[:-1]).argmax())
        model.classifier.bias[0] -= (middle[widest] + middle[widest + 1]) / 2


def save_embedding(folder: Path) -> Path:
    """A sentence-transformers folder: the mean of the tokens, normalised."""
    save_model(folder, "bert", "hidden")
    modules = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    described = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(modules.items())
    ]
    (folder / "modules.json").write_text(json.dumps(described))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 48, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def _trained(model: Any, trainer: Any, pre_tokenizer: Any) -> dict[str, Any]:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(CORPUS, trainer)
    trained: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return trained


def _word_pieces(**settings: Any) -> Any:
    from transformers import BertTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    splitter = pre_tokenizers.BertPreTokenizer()
    words = {word for text in CORPUS for word, _ in splitter.pre_tokenize_str(_NORMALISER.normalize_str(text))}
    halves = {piece for word in words for piece in (word[: len(word) // 2], "##" + word[len(word) // 2 :]) if piece}
    letters = {mark + letter for word in words for letter in word for mark in ("", "##")}
    vocabulary = special + sorted(halves | letters)
    return BertTokenizerFast(vocab={piece: index for index, piece in enumerate(vocabulary)}, **settings)


def _byte_pairs(**settings: Any) -> Any:
    from transformers import RobertaTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS + 256, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    trained = _trained(models.BPE(), trainer, pre_tokenizers.ByteLevel(add_prefix_space=False))
    return RobertaTokenizerFast(vocab=trained["vocab"], merges=[tuple(pair) for pair in trained["merges"]], **settings)


def _unigrams(**settings: Any) -> Any:
    from transformers import XLMRobertaTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=WORDS, special_tokens=special, unk_token="<unk>", show_progress=False)
    trained = _trained(models.Unigram(), trainer, pre_tokenizers.Metaspace())
    # Trained again, equally frequent pieces come in another order, by which their last digits are told apart.
    scores = {piece: round(score, 3) for piece, score in trained["vocab"][len(special) :]}
    pieces = [(piece, scores[piece] - 1e-4 * index) for index, piece in enumerate(sorted(scores))]
    return XLMRobertaTokenizerFast(vocab=[*map(tuple, trained["vocab"][: len(special)]), *pieces], **settings)


_TOKENIZERS = {"roberta": _byte_pairs, "electra": _unigrams}
