"""What a model answers of a text: labels, entities or a vector; and the C unit that tells the runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from data.errors import ModelError
from fusion.emit.c_text import c_string
from fusion.emit.program import Program
from fusion.graph import Graph
from fusion.labels import LOGITS

SENTENCE_EMBEDDING = "sentence_embedding"

Kind = Literal["classifies", "finds entities", "embeds"]
# As transformers' text classification reads `problem_type`; without one the number of labels decides.
_FUNCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "regression": "PB_AS_IT_IS",
        "multi_label_classification": "PB_SIGMOID",
        "single_label_classification": "PB_SOFTMAX",
    }
)
_KINDS: Mapping[Kind, str] = MappingProxyType(
    {"classifies": "PB_CLASSIFIES", "finds entities": "PB_FINDS_ENTITIES", "embeds": "PB_EMBEDS"}
)


@dataclass(frozen=True)
class Answers:
    """How a model answers a text, by which of its outputs, and for labels: what makes scores of logits (a constant of
    the runtime), and their names."""

    kind: Kind
    output: int
    function: str = "PB_AS_IT_IS"
    labels: tuple[str, ...] = ()


def answers_of(
    program: Program[Any], graph: Graph, seq_len: int, labels: Sequence[str], problem_type: str | None
) -> Answers:
    """How a model of a Hugging Face directory answers; ``labels`` are those of its logits, and ``problem_type`` is what
    its ``config.json`` says.

    Raises:
        ModelError: it has no labels and no vector of the whole text, such as a model that answers questions, or
            ``problem_type`` is unknown.
    """
    names = {port.name: index for index, port in enumerate(program.outputs)}
    if (index := names.get(SENTENCE_EMBEDDING)) is not None:
        return Answers("embeds", index)
    index = names.get(LOGITS)
    if index is None or not labels or program.outputs[index].columns != len(labels):
        raise ModelError(
            f"no answer is known of a model that gives {', '.join(names)}: texts are classified, searched for "
            "entities, or embedded by a sentence-transformers folder"
        )
    if _has_a_row_for_each_token(graph, index, seq_len):
        return Answers("finds entities", index, "PB_SOFTMAX", tuple(labels))
    return Answers("classifies", index, _function(problem_type, len(labels)), tuple(labels))


def _has_a_row_for_each_token(graph: Graph, output: int, seq_len: int) -> bool:
    type_ = graph.types[graph.outputs[output]]
    return type_.rows == seq_len and len(type_.shape) > 2


def _function(problem_type: str | None, labels: int) -> str:
    if problem_type is None:
        return "PB_SIGMOID" if labels == 1 else "PB_SOFTMAX"
    if problem_type not in _FUNCTIONS:
        raise ModelError(f"config.json: problem_type is {problem_type!r}; known are {', '.join(_FUNCTIONS)}")
    function = _FUNCTIONS[problem_type]
    return "PB_SIGMOID" if labels == 1 and function == "PB_SOFTMAX" else function


def answer_table(answers: Answers, program: str, java_class: str = "") -> str:
    """The C unit with the answers of a library's program, and the class whose methods it brings to a Java machine."""
    names = "".join(f"  {c_string(label)},\n" for label in answers.labels) or "  0,\n"
    return (
        '#include "app/answers.h"\n\n'
        f"static const char *const labels[] = {{\n{names}}};\n\n"
        f"const pb_answers pb_model_answers = {{{c_string(program)}, {_KINDS[answers.kind]}, {answers.output}, "
        f"{answers.function}, {len(answers.labels)}, labels, {c_string(java_class)}}};\n"
    )
