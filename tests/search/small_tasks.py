"""Tasks of every kind and a teacher, small enough to be learnt in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from data.architecture import Architecture
from data.tasks import Example, Kind, TaggedWords, Task

ANIMALS, COLOURS = ("cat", "dog", "cow", "hen"), ("red", "blue", "green", "pink")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ANIMALS, *COLOURS, "the", "a", "is")
SEQ_LEN = 24
TAGS = ("O", "B-ANIMAL", "B-COLOUR")


def make_task(examples: int = 96, kind: Kind = "classification") -> Task:
    """Does a pair name an animal twice? Or, of "tokens": which words are animals, which are colours?"""
    random = np.random.default_rng(0)
    rows = [_tagged(random) if kind == "tokens" else _pair(random) for _ in range(examples)]
    metric = {"classification": "accuracy", "regression": "pearson_spearman", "tokens": "entity_f1"}
    names = {"classification": ("no", "yes"), "tokens": TAGS}
    train, dev = tuple(rows[: examples // 2]), tuple(rows[examples // 2 :])
    return Task("animals", kind, names.get(kind, ()), metric.get(kind, "spearman"), train, dev)  # type: ignore[arg-type]


def _filler(random: np.random.Generator) -> list[str]:
    return [str(word) for word in random.choice(["the", "a", "is"], random.integers(1, 6))]


def _pair(random: np.random.Generator) -> Example:
    first, second = random.choice(ANIMALS), random.choice([*ANIMALS, *COLOURS])
    return Example(" ".join([*_filler(random), first]), f"the {second}", float(second in ANIMALS))


def _tagged(random: np.random.Generator) -> TaggedWords:
    words = [*_filler(random), str(random.choice([*ANIMALS, *COLOURS])), *_filler(random)]
    tags = [1 if word in ANIMALS else 2 if word in COLOURS else 0 for word in words]
    return TaggedWords(tuple(words), tuple(tags))


def small_architecture(*sizes: int, task: Task | None = None) -> Architecture:
    """A student of layers, hidden, heads and intermediate, with the head that the task needs."""
    heads = {"tokens": "tokens", "similarity": "embedding"}
    head = heads.get(task.kind, "sequence") if task else "sequence"
    labels = task.labels if task else 2
    return Architecture(
        *sizes,
        vocab_size=len(VOCABULARY),
        seq_len=SEQ_LEN,
        max_positions=64,
        labels=labels,
        head=head,  # type: ignore[arg-type]
    )


def write_source(directory: Path, layers: int = 4, hidden: int = 48) -> Path:
    """A pre-trained BERT, as far as the code can tell."""
    torch.manual_seed(0)
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": 4}
    sizes["intermediate_size"] = 2 * hidden
    config = BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=64, initializer_range=0.1, **sizes)
    BertModel(config).save_pretrained(directory)
    (directory / "vocab.txt").write_text("\n".join(VOCABULARY))
    BertTokenizerFast(str(directory / "vocab.txt")).save_pretrained(directory)
    return directory
