"""Which input of a file is which: by its own name, by names that exporters use, by what the graph does with it.

    input_ids        looked up in a large table          attention_mask   never looked up
    token_type_ids   looked up in a small one

A name that is in no list is taken by its use, where no two inputs could be meant; where the two contradict each other,
or nothing is sure, the user says it: ``--rename a=b``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import onnx

from data.errors import InputError, ModelError
from fusion.importing.onnx_nodes import all_graphs, all_reads, rename_tensors

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
TAKEN_INPUTS = (IDS, MASK, TYPES)

# Names in lower case, without a scope before them or an output's number behind them.
_NAMES: Mapping[str, str] = MappingProxyType(
    dict.fromkeys("input_ids input_word_ids word_ids token_ids tokens ids input_tokens src_tokens".split(), IDS)
    | dict.fromkeys("attention_mask input_mask mask attn_mask att_mask mask_ids attention_masks".split(), MASK)
    | dict.fromkeys("token_type_ids segment_ids input_type_ids type_ids token_types segments segment".split(), TYPES)
)
_AROUND = re.compile(r"^(serving_default_|.*/)|:\d+$")
# Inputs that some exports have and that no name stands for, with what to do.
_NOT_TAKEN: Mapping[str, str] = MappingProxyType(
    {
        "position_ids": "export the model without it, so that positions are constants",
        "head_mask": "export the model without it",
        "inputs_embeds": "export the model with input_ids",
    }
)
# Operators behind which the numbers are still the ids.
_CARRYING = frozenset(
    "Cast Identity Reshape Flatten Squeeze Unsqueeze Slice Clip Expand Transpose Gather Where".split()
)
_PAIR = ("QuantizeLinear", "DequantizeLinear")
# Tables of token types are shorter than this, those of tokens longer.
_FEW_ROWS = 16


@dataclass(frozen=True)
class InputNames:
    """``renamed``: (the file's name, ours) of each input that is called otherwise; ``unread``: inputs that no
    operator reads and that are none of ours, by the file's names."""

    renamed: tuple[tuple[str, str], ...] = ()
    unread: tuple[str, ...] = ()


def parse_renames(texts: Sequence[str]) -> dict[str, str]:
    """``a=b`` texts as a mapping from a file's input to one of ours; the last ``=`` separates.

    Raises:
        InputError: a text is not of that form, or two are about one input.
    """
    renames: dict[str, str] = {}
    for text in texts:
        name, _, ours = (part.strip() for part in text.rpartition("="))
        if not name or not ours:
            raise InputError(f"--rename {text}: not of the form a=b, such as input_mask={MASK}")
        if name in renames:
            raise InputError(f"--rename {text}: {name!r} is renamed twice")
        renames[name] = ours
    return renames


def checked_renames(rename: object) -> dict[str, str]:
    """Renames as :func:`name_inputs` takes them; nothing for None.

    Raises:
        InputError: they are no mapping from names to names.
    """
    if rename is None:
        return {}
    if not isinstance(rename, Mapping) or not all(isinstance(part, str) for pair in rename.items() for part in pair):
        raise InputError(f"rename must map names of the file's inputs to ours, such as {{'input_mask': '{MASK}'}}")
    return dict(rename)


def name_inputs(model: onnx.ModelProto, rename: Mapping[str, str]) -> InputNames:
    """Gives the inputs of a model our names, in place; inputs that nothing reads and that are none of ours go.

    Raises:
        InputError: ``rename`` names an input that the file lacks or a name that is none of ours, or two inputs alike.
        ModelError: it is not sure what an input is.
    """
    held = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in held]
    if len(set(names)) < len(names):
        raise ModelError("two inputs have one name")
    _check_renames(rename, names)
    meant = _meanings(model, names, rename)
    read = all_reads(model.graph)
    unread = tuple(name for name in names if name not in meant and name not in read)
    _check_meanings(names, meant, unread)
    renamed = {name: ours for name, ours in meant.items() if name != ours}
    _rename_tensors(model.graph, renamed)
    kept = [value for value in model.graph.input if value.name not in unread]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return InputNames(tuple(renamed.items()), unread)


def _check_renames(rename: Mapping[str, str], names: Sequence[str]) -> None:
    for name, ours in rename.items():
        if name not in names:
            raise InputError(f"rename {name}={ours}: the model has no input {name!r}; it has {', '.join(names)}")
        if ours not in TAKEN_INPUTS:
            raise InputError(f"rename {name}={ours}: {ours!r} is not one of {', '.join(TAKEN_INPUTS)}")
    twice = _repeated(rename.values())
    if twice:
        raise InputError(f"two inputs are renamed to {twice[0]!r}")


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]


def _meanings(model: onnx.ModelProto, names: Sequence[str], rename: Mapping[str, str]) -> dict[str, str]:
    """Ours of each input of which it is sure: said by the user, our own name, a known name, the only one of its use."""
    meant = dict(rename)
    free = [ours for ours in TAKEN_INPUTS if ours not in meant.values()]
    for name in names:
        if name not in meant and name in free:
            meant[name] = name
            free.remove(name)
    open_names = [name for name in names if name not in meant and _plain(name) not in _NOT_TAKEN]
    uses = {name: _use(model.graph, name) for name in open_names}
    by_name = {name: _NAMES.get(_plain(name), "") for name in uses}
    agreed = {name: ours for name, ours in by_name.items() if ours in free and uses[name] in ("", ours)}
    meant |= _once(agreed)
    taken = set(meant.values())
    open_uses = {name: use for name, use in uses.items() if name not in meant and not by_name[name]}
    return meant | _once({name: use for name, use in open_uses.items() if use and use not in taken})


def _once(guesses: Mapping[str, str]) -> dict[str, str]:
    """Those guesses that no other contradicts."""
    return {name: ours for name, ours in guesses.items() if list(guesses.values()).count(ours) == 1}


def _plain(name: str) -> str:
    """A name in lower case without what frameworks put around it."""
    while (shorter := _AROUND.sub("", name)) != name:
        name = shorter
    return name.lower().replace("-", "_")


def _use(graph: onnx.GraphProto, name: str) -> str:
    """What the use of an input says that it is; nothing when no operator reads it."""
    tables = {tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) == 2}
    carried, used = {name}, False
    rows: list[int] = []
    for node in graph.node:
        if node.op_type in _PAIR and node.input and node.input[0] in tables:
            tables |= dict.fromkeys(node.output, tables[node.input[0]])
        if not carried & set(node.input):
            continue
        used = True
        if node.op_type == "Gather" and len(node.input) > 1 and node.input[1] in carried:
            rows.append(tables.get(node.input[0], 0))
        elif node.op_type == "OneHot" and node.input[0] in carried:
            rows.append(0)  # looked up by a product with a table that is not known here
        elif node.op_type in _CARRYING and node.input[0] in carried:
            carried.update(node.output)
    if not used:
        return ""
    if not rows:
        return MASK
    return IDS if max(rows) > _FEW_ROWS else TYPES if max(rows) else ""


def _check_meanings(names: Sequence[str], meant: Mapping[str, str], unread: Sequence[str]) -> None:
    unknown = [name for name in names if name not in meant and name not in unread]
    for name in unknown:
        if _plain(name) in _NOT_TAKEN:
            raise ModelError(f"input {name!r} is not taken; {_NOT_TAKEN[_plain(name)]}")
    if unknown:
        others = [ours for ours in TAKEN_INPUTS if ours not in meant.values()]
        advice = f"say which it is, such as --rename {unknown[0]}={others[0]}" if others else "export it without it"
        raise ModelError(
            f"input {unknown[0]!r} is not one of {', '.join(TAKEN_INPUTS)}, nor is its use in the graph sure; {advice}"
        )
    twice = _repeated(meant.values())
    if twice:
        raise ModelError(f"two inputs are {twice[0]!r}; say which is which, --rename a=b")


def _rename_tensors(graph: onnx.GraphProto, renamed: Mapping[str, str]) -> None:
    """Renames inputs; a tensor inside that has one of our names gives way."""
    graphs = list(all_graphs(graph))
    inside = {name for one in graphs for node in one.node for name in node.output}
    inside |= {tensor.name for one in graphs for tensor in one.initializer}
    changes = dict(renamed)
    everything = inside | {value.name for value in graph.input}
    for ours in renamed.values():
        if ours in inside:
            changes[ours] = _fresh(f"{ours}/inner", everything)
    rename_tensors(graph, changes)


def _fresh(name: str, taken: set[str]) -> str:
    number, made = 1, name
    while made in taken:
        number += 1
        made = f"{name}{number}"
    return made
