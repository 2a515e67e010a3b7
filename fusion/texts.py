"""What lets a compiled model take texts: the tokenizer of its Hugging Face directory, and how it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data.errors import ModelError, UnsupportedTokenizerError
from fusion.build.toolchain import ANSWER_SOURCES, Addition
from fusion.checkpoints.files import read_config
from fusion.checkpoints.label_names import default_names, is_classifier
from fusion.compiled import CompiledModel
from fusion.emit.answer_table import Answers, answer_table, answers_of
from fusion.labels import LOGITS
from fusion.tokenizer.source import has_tokenizer
from fusion.tokenizer.tokenizer_table import tokenizer_table

# What C and C++ include to ask a model about texts, beside pocketbert.h.
TEXT_HEADERS = ("pocketbert_app.h", "pocketbert_text.h")


@dataclass(frozen=True)
class Texts:
    """``table`` is what ``pb_tokenizer_open`` takes; ``program`` is the one that answers."""

    table: bytes
    answers: Answers
    program: str

    def addition(self, *files: str, java_class: str = "") -> Addition:
        """What a library of the model takes texts by, with further files of the runtime's; a Java machine finds its
        methods in a class, named as the Java Native Interface names them."""
        return Addition((answer_table(self.answers, self.program, java_class),), (*ANSWER_SOURCES, *files))


def texts_or_reason(model: CompiledModel, directory: Path) -> Texts | str:
    """As :func:`texts_of`; or why a model whose tokenizer or answer is not known in C takes token ids instead.

    Raises:
        DataFileError: tokenizer or ``config.json`` cannot be read.
    """
    if not has_tokenizer(directory):
        return "no tokenizer lies with the model"
    try:
        return texts_of(model, directory)
    except (UnsupportedTokenizerError, ModelError) as error:
        return str(error)


def texts_of(model: CompiledModel, directory: Path) -> Texts:
    """How a model answers texts whose tokenizer and ``config.json`` lie in a Hugging Face directory.

    Raises:
        DataFileError: one of them cannot be read.
        UnsupportedTokenizerError: the tokenizer has a part that the C tokenizer does not know.
        ModelError: no answer is known of such a model.
    """
    config = read_config(directory)
    labels = model.labels
    if not labels and is_classifier(config):
        labels = default_names(next((port.columns for port in model.program.outputs if port.name == LOGITS), 0))
    answers = answers_of(model.program, model.plan.graph, model.seq_len, labels, config.get("problem_type"))
    return Texts(tokenizer_table(directory), answers, model.program.name)
