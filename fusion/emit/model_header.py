"""The C header of one exported model: its inputs and outputs by name, their sizes, and the names of its labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fusion.emit.c_text import c_name, c_string
from fusion.emit.program import Port, Program
from fusion.graph import Graph
from fusion.labels import LOGITS

_TEMPLATE = """\
/* The model beside this file, made with it: its inputs and outputs in pb_run's order, and the names of its labels.
   Where a text ends before PB_TOKENS, attention_mask is 0; what is given for those tokens means nothing. */
#ifndef POCKETBERT_MODEL_H
#define POCKETBERT_MODEL_H
#include "pocketbert.h"

#define PB_TOKENS {tokens}

/* Inputs: int64 [PB_TOKENS] each. */
{inputs}
/* Outputs: fp32 [ROWS x COLUMNS] each. */
{outputs}
{labels}
#endif
"""
_NO_LABELS = """\
/* Names of labels: the model has none. */
#define PB_LABEL_COUNT 0
"""
_LABELS = """\
/* The names of labels, in UTF-8{place}. */
#define PB_LABEL_COUNT {count}
{output}__attribute__((unused)) static const char *const pb_labels[PB_LABEL_COUNT] = {{
{names}
}};
"""


def model_header(program: Program[Any], graph: Graph, seq_len: int) -> str:
    """C and C++ that is included together with ``pocketbert.h``; ``graph`` is what the program was made of."""
    taken: set[str] = {"PB_INPUT_COUNT", "PB_OUTPUT_COUNT"}
    inputs = [_taken(port, "PB_INPUT_", taken, ("",)) for port in program.inputs]
    outputs = [_taken(port, "PB_OUTPUT_", taken, ("", "_ROWS", "_COLUMNS")) for port in program.outputs]
    labelled = _labelled(program.outputs, graph.labels)
    described = zip(outputs, program.outputs, graph.outputs, strict=True)
    return _TEMPLATE.format(
        tokens=seq_len,
        inputs="".join(_defined({name: index for index, name in enumerate([*inputs, "PB_INPUT_COUNT"])})),
        outputs="".join(
            line
            for index, (name, port, tensor) in enumerate(described)
            for line in (
                _remark(port, graph, tensor, seq_len, index == labelled),
                *_defined({name: index, f"{name}_ROWS": port.rows, f"{name}_COLUMNS": port.columns}),
            )
        )
        + f"#define PB_OUTPUT_COUNT {len(outputs)}\n",
        labels=_label_table(graph.labels, None if labelled is None else outputs[labelled]),
    )


def _taken(port: Port, prefix: str, taken: set[str], suffixes: tuple[str, ...]) -> str:
    name = c_name(port.name, prefix, taken, suffixes)
    taken.update(f"{name}{suffix}" for suffix in suffixes)
    return name


def _defined(values: dict[str, int]) -> Iterator[str]:
    return (f"#define {name} {value}\n" for name, value in values.items())


def _labelled(outputs: Sequence[Port], labels: Sequence[str]) -> int | None:
    """The index of the output of which each row has a number for each label, where it is known."""
    fitting = [index for index, port in enumerate(outputs) if port.columns == len(labels)]
    named = [index for index in fitting if outputs[index].name == LOGITS]
    return next(iter(named or (fitting if len(fitting) == 1 else ())), None) if labels else None


def _remark(port: Port, graph: Graph, tensor: str, seq_len: int, labelled: bool) -> str:
    """What is known of an output, as a comment; nothing where that is no more than its size."""
    producer = graph.producers.get(tensor)
    rank = len(graph.types[tensor].shape)
    known = [
        "a row for each token, in order, those of padding to be left aside"
        if _is_of_tokens(port, seq_len, rank)
        else "",
        "a number for each label" if labelled else "",
        "of length 1: the sum of products of two is their cosine"
        if producer is not None and producer.kind == "l2_norm"
        else "",
    ]
    text = "; ".join(part for part in known if part)
    return f"/* {text[0].upper()}{text[1:]}. */\n" if text else ""


def _is_of_tokens(port: Port, seq_len: int, rank: int) -> bool:
    return port.rows == seq_len and rank > 2


def _label_table(labels: Sequence[str], output: str | None) -> str:
    if not labels:
        return _NO_LABELS
    return _LABELS.format(
        place="" if output is None else f", in the order of the columns of {output}",
        count=len(labels),
        output="" if output is None else f"#define PB_LABELLED_OUTPUT {output}\n",
        names=",\n".join(f"  {c_string(label)}" for label in labels),
    )
