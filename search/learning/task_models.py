"""BERT with the head that a kind of task needs: made, saved and loaded alike for all kinds.

Each has its encoder as ``.bert`` and gives ``logits``: (b, labels) for classification and regression, (b, s, labels)
for "tokens", and for "similarity" the normalised mean of the last hidden states, (b, hidden).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.tasks import Kind
from search.learning.factorised_embeddings import read_model
from search.learning.training import TRAINING_ATTENTION, training_device

_SENTENCE_MODULES = (
    ("0", "", "sentence_transformers.models.Transformer"),
    ("1", "1_Pooling", "sentence_transformers.models.Pooling"),
    ("2", "2_Normalize", "sentence_transformers.models.Normalize"),
)


def class_of(kind: Kind) -> Any:
    """transformers' class of a kind that has a classifier."""
    from transformers import BertForSequenceClassification, BertForTokenClassification

    return BertForTokenClassification if kind == "tokens" else BertForSequenceClassification


def new_model(config: Any, kind: Kind) -> Any:
    """A model of that kind with random weights, from a ``BertConfig``."""
    from transformers import BertModel

    if kind == "similarity":
        model = sentence_encoder(BertModel(config, add_pooling_layer=False))
    else:
        config.problem_type = "regression" if kind == "regression" else None
        model = class_of(kind)(config)
    model.bert.set_attn_implementation(TRAINING_ATTENTION)
    return model


def name_labels(config: Any, names: Sequence[str]) -> None:
    """Puts the task's labels into a configuration; without names there is one logit."""
    config.num_labels = max(1, len(names))
    if names:
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}


def sentence_encoder(encoder: Any) -> Any:
    """A model of sentence embeddings around a ``BertModel``, whose pooler is dropped."""
    import torch
    from transformers.modeling_outputs import SequenceClassifierOutput

    class SentenceEncoder(torch.nn.Module):
        """Mean over the unmasked tokens, normalised; a sentence-transformers folder when it is saved."""

        def __init__(self) -> None:
            super().__init__()
            self.config = encoder.config
            self.bert = encoder
            self.bert.pooler = None

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None, **settings: Any) -> Any:
            outputs = self.bert(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids, **settings
            )
            weights = attention_mask.unsqueeze(2).to(outputs.last_hidden_state.dtype)
            mean = (outputs.last_hidden_state * weights).sum(dim=1) / weights.sum(dim=1)
            embedding = torch.nn.functional.normalize(mean, dim=1)
            return SequenceClassifierOutput(logits=embedding, hidden_states=outputs.hidden_states)

    return SentenceEncoder()


def save_model(model: Any, kind: Kind, tokenizer: Any, directory: Path, max_tokens: int) -> None:
    """Write an ordinary Hugging Face directory with the tokenizer, if any; what a kill left there is removed.

    A model of sentence embeddings becomes a sentence-transformers folder, which cuts texts to ``max_tokens``.
    """
    shutil.rmtree(directory, ignore_errors=True)
    if kind == "similarity":
        model.bert.save_pretrained(directory)
        _describe_sentence_modules(directory, int(model.config.hidden_size), max_tokens)
    else:
        model.save_pretrained(directory)
    if tokenizer is not None:
        tokenizer.save_pretrained(directory)


def _describe_sentence_modules(directory: Path, hidden: int, max_tokens: int) -> None:
    modules = [
        {"idx": int(index), "name": index, "path": folder, "type": kind} for index, folder, kind in _SENTENCE_MODULES
    ]
    pooling = {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True}
    documents = {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": max_tokens, "do_lower_case": False},
        "1_Pooling/config.json": pooling,
    }
    for _, folder, _ in _SENTENCE_MODULES:
        (directory / folder).mkdir(exist_ok=True)
    for name, document in documents.items():
        (directory / name).write_text(json.dumps(document, indent=2), encoding="utf-8")


def load_model(directory: Path, kind: Kind) -> Any:
    """The model in ``directory``, float32, ready to evaluate, on the training device."""
    from transformers import BertModel

    if kind == "similarity":
        model = sentence_encoder(read_model(BertModel, directory, add_pooling_layer=False))
    else:
        model = read_model(class_of(kind), directory)
    return model.to(training_device()).eval()
