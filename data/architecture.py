"""The architecture of a BERT-like encoder: what the search chooses and the compiler compiles."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from data.errors import InputError, UnknownNameError

# The published system's deep and narrow model has 28 blocks; the width is facts.md's "28 layers x 256".
_PRESET_SIZES = {
    "bert-base": (12, 768, 12, 3072),
    "distilbert": (6, 768, 12, 3072),
    "deep-narrow": (28, 256, 4, 1024),
}
PRESETS = tuple(_PRESET_SIZES)

# What stands behind the encoder: a pooler and a classifier on the first token; a classifier on every token; or the mean
# over the tokens that the mask keeps, brought to length 1.
Head = Literal["sequence", "tokens", "embedding"]
HEADS: tuple[Head, ...] = get_args(Head)

# In which numbers the products with weights are computed; all else is fp32.
Precision = Literal["fp32", "int8", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, order=True)
class Architecture:
    """Sizes of a BERT-like encoder, its head, and the precision of its products.

    ``layers``, ``hidden``, ``heads`` and ``intermediate`` are what the search varies, and ``precision`` where it is
    asked to; the rest is given by the teacher (vocabulary, positions), the task (labels, head) and the user (sequence
    length). Batch is 1.

    Outputs: ``sequence`` gives logits (1, labels), ``tokens`` logits (1, seq_len, labels), ``embedding`` a vector of
    length 1, (1, hidden), which has no labels: ``labels`` is 1.

    Raises:
        InputError: a size is not positive, ``hidden`` is no multiple of ``heads``, the head or the precision is
            unknown, or an embedding has labels.
    """

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocab_size: int = 30522
    seq_len: int = 128
    max_positions: int = 512
    token_types: int = 2
    labels: int = 2
    head: Head = "sequence"
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        for name, value in self._sizes().items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"architecture: {name} must be a positive whole number, not {value!r}")
        if self.head not in HEADS:
            raise InputError(f"architecture: head must be one of {', '.join(HEADS)}, not {self.head!r}")
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise InputError(f"architecture: precision must be one of {known}, not {self.precision!r}")
        if self.head == "embedding" and self.labels != 1:
            raise InputError(f"architecture: labels of an embedding must be 1, not {self.labels}")
        if self.hidden % self.heads:
            raise InputError(f"architecture: hidden {self.hidden} is not a multiple of heads {self.heads}")
        if self.seq_len > self.max_positions:
            raise InputError(f"architecture: seq_len {self.seq_len} exceeds max_positions {self.max_positions}")

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def parameters(self) -> int:
        """Number of weights, embeddings and head included."""
        embeddings = (self.vocab_size + self.max_positions + self.token_types + 2) * self.hidden
        return embeddings + self.encoder_parameters + self._head_parameters

    @property
    def encoder_parameters(self) -> int:
        """Number of weights of all layers, without embeddings and head: what a text runs through."""
        attention = 4 * self.hidden * (self.hidden + 1)
        feed_forward = 2 * self.hidden * self.intermediate + self.hidden + self.intermediate
        return self.layers * (attention + feed_forward + 4 * self.hidden)

    @property
    def product_parameters(self) -> int:
        """Number of weights that rows are multiplied with: matrices of the layers, and of the pooler."""
        layer = 4 * self.hidden**2 + 2 * self.hidden * self.intermediate
        return self.layers * layer + (self.hidden**2 if self.head == "sequence" else 0)

    @property
    def _head_parameters(self) -> int:
        classifier = self.labels * (self.hidden + 1)
        pooler = self.hidden * (self.hidden + 1)
        return {"sequence": pooler + classifier, "tokens": classifier, "embedding": 0}[self.head]

    @property
    def name(self) -> str:
        """Short readable name, such as ``6x192-h6-f768``, or ``6x192-h6-f768-tokens-int8`` of another head and
        precision."""
        return "-".join([f"{self.layers}x{self.hidden}-h{self.heads}-f{self.intermediate}", *self._others().values()])

    def to_dict(self) -> dict[str, int | str]:
        """Plain dictionary of all sizes; the head is in it where it is not ``sequence``, the precision where it is not
        ``fp32``, as in older records."""
        return self._sizes() | self._others()

    def _others(self) -> dict[str, str]:
        """Head and precision, where they are not the usual ones."""
        usual = {"head": "sequence", "precision": "fp32"}
        return {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}

    def _sizes(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self).items() if name not in ("head", "precision")}

    def to_json(self) -> str:
        """Canonical JSON: equal architectures give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        """Inverse of :meth:`to_dict`; unknown or missing keys raise ``InputError``."""
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"architecture: {error}") from error


def preset(name: str) -> Architecture:
    """One of ``PRESETS``, at sequence length 128."""
    if name not in _PRESET_SIZES:
        raise UnknownNameError("preset", name, PRESETS)
    return Architecture(*_PRESET_SIZES[name])
