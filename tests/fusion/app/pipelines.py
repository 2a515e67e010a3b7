"""What transformers answers of the same texts: the figures that an app has to tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fusion.checkpoints.loading import quiet_transformers

SEQ_LEN = 32


class Answer(NamedTuple):
    """``removed`` tokens, and rows: (label, score), (label, score, start, end), or (number,)."""

    removed: int
    rows: list[tuple[float, ...]]


class Pipelines:
    """A Hugging Face directory, asked in Python, of at most ``SEQ_LEN`` tokens; a tab parts two texts."""

    def __init__(self, folder: Path) -> None:
        import transformers

        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.sides = {name: getattr(self._tokenizer, name) for name in ("padding_side", "truncation_side")}
        self._tokenizer.model_max_length = SEQ_LEN
        architecture = transformers.AutoConfig.from_pretrained(folder).architectures[0]
        with quiet_transformers():
            self._model = (
                getattr(transformers, architecture).from_pretrained(folder, attn_implementation="eager").eval()
            )
        self._architecture = architecture

    @property
    def labels(self) -> list[str]:
        """The names of the labels in order; none of a model that embeds."""
        if not self._architecture.endswith("Classification"):
            return []
        return [self._model.config.id2label[index] for index in range(self._model.config.num_labels)]

    def answers(self, lines: Sequence[str]) -> list[Answer]:
        """Of each line."""
        return [self._answer(*line.split("\t")) for line in lines]

    def _answer(self, text: str, pair: str | None = None) -> Answer:
        if self._architecture.endswith("TokenClassification"):
            return Answer(self._removed(text), self._entities(text))
        rows = self._classified if self._architecture.endswith("SequenceClassification") else self._embedded
        return Answer(self._removed(text, pair), rows(text, pair))

    def _removed(self, *texts: str | None) -> int:
        with quiet_transformers():
            return max(0, len(self._tokenizer(*texts, truncation=False)["input_ids"]) - SEQ_LEN)

    def _classified(self, text: str, pair: str | None) -> list[tuple[float, ...]]:
        from transformers import TextClassificationPipeline

        pipeline = TextClassificationPipeline(model=self._model, tokenizer=self._tokenizer)
        question: Any = text if pair is None else {"text": text, "text_pair": pair}
        # MobileBERT's tokens see those beside them, which are padding where a text ends.
        padding = "max_length" if self._architecture.startswith("MobileBert") else False
        found = pipeline(question, top_k=None, truncation=True, max_length=SEQ_LEN, padding=padding)
        return [(self.labels.index(row["label"]), row["score"]) for row in found]

    def _entities(self, text: str) -> list[tuple[float, ...]]:
        from transformers import TokenClassificationPipeline

        pipeline = TokenClassificationPipeline(
            model=self._model, tokenizer=self._tokenizer, aggregation_strategy="simple"
        )
        names = [label.split("-", 1)[-1] for label in self.labels]
        return [(names.index(row["entity_group"]), row["score"], row["start"], row["end"]) for row in pipeline(text)]

    def _embedded(self, text: str, pair: str | None) -> list[tuple[float, ...]]:
        """As sentence-transformers does: the mean of the tokens, normalised."""
        inputs = self._tokenizer(text, pair, truncation=True, max_length=SEQ_LEN, return_tensors="pt")
        with torch.no_grad():
            states = self._model(**inputs).last_hidden_state[0]
        vector = torch.nn.functional.normalize(states.mean(0), dim=0)
        return [(float(number),) for number in vector]
