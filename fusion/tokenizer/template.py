"""What stands around a model's tokens, and added tokens: post-processors as one template, and a table of the tokens."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fusion.tokenizer.parts import expect, flattened
from fusion.tokenizer.source import TokenizerSource

_SPECIAL, _TEXT, _PAIR = range(3)
_NORMALISED, _STRIPS_LEFT, _STRIPS_RIGHT, _SINGLE_WORD = 1, 2, 4, 8
_FLAGS = {"normalized": _NORMALISED, "lstrip": _STRIPS_LEFT, "rstrip": _STRIPS_RIGHT, "single_word": _SINGLE_WORD}
_FORMS = {
    "TemplateProcessing": frozenset({"single", "pair", "special_tokens"}),
    "BertProcessing": frozenset({"sep", "cls"}),
    "RobertaProcessing": frozenset({"sep", "cls", "trim_offsets", "add_prefix_space"}),
    "ByteLevel": frozenset({"add_prefix_space", "trim_offsets", "use_regex"}),
}
_ADDED = frozenset({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"})


class Slot(NamedTuple):
    """A place in a template: a special token, or all tokens of a text; ``id`` is the special token's."""

    part: int
    id: int
    type: int


@dataclass(frozen=True)
class Template:
    """Slots for one text and for two, and whether spans leave out white space, but for one first space."""

    one: tuple[Slot, ...]
    two: tuple[Slot, ...]
    trims: bool = False
    keeps_first_space: bool = False

    def packed(self) -> bytes:
        """The section."""
        return b"".join(struct.pack("<3i", *slot) for slot in (*self.one, *self.two))


def read_template(source: TokenizerSource) -> Template:
    """The template of a tokenizer's post-processor.

    Raises:
        UnsupportedTokenizerError: it is of another form, or puts a text in twice or not at all.
    """
    steps = flattened(source, "post_processor", _FORMS)
    kinds = [step["type"] for step in steps]
    trimming = steps.pop(0) if kinds[:1] == ["ByteLevel"] else {}
    if len(steps) > 1 or kinds[1:] == ["ByteLevel"]:
        source.refuse(f"post_processor {' and then '.join(kinds)}")
    template = _slots(source, steps[0]) if steps else _without_special()
    if kinds == ["RobertaProcessing"]:
        trimming = steps[0]
    if trimming:
        trims, keeps = bool(trimming.get("trim_offsets")), bool(trimming.get("add_prefix_space"))
        template = Template(template.one, template.two, trims, keeps)
    for slots, texts in ((template.one, [_TEXT]), (template.two, [_TEXT, _PAIR])):
        if sorted(slot.part for slot in slots if slot.part != _SPECIAL) != texts:
            source.refuse("post_processor TemplateProcessing that does not hold each text once")
    return template


def _without_special() -> Template:
    return Template((Slot(_TEXT, 0, 0),), (Slot(_TEXT, 0, 0), Slot(_PAIR, 0, 1)))


def _slots(source: TokenizerSource, step: Mapping[str, Any]) -> Template:
    if step["type"] == "TemplateProcessing":
        return Template(_from_template(source, step, "single"), _from_template(source, step, "pair"))
    if step["type"] == "ByteLevel":
        return _without_special()
    first, last = int(step["cls"][1]), int(step["sep"][1])
    one = (Slot(_SPECIAL, first, 0), Slot(_TEXT, 0, 0), Slot(_SPECIAL, last, 0))
    if step["type"] == "BertProcessing":
        return Template(one, (*one, Slot(_PAIR, 0, 1), Slot(_SPECIAL, last, 1)))
    return Template(one, (*one, Slot(_SPECIAL, last, 0), Slot(_PAIR, 0, 0), Slot(_SPECIAL, last, 0)))


def _from_template(source: TokenizerSource, step: Mapping[str, Any], which: str) -> tuple[Slot, ...]:
    slots: list[Slot] = []
    for piece in step[which]:
        ((kind, what),) = piece.items()
        if kind == "Sequence":
            slots.append(Slot(_TEXT if what["id"] == "A" else _PAIR, 0, what["type_id"]))
        elif kind == "SpecialToken":
            slots += [Slot(_SPECIAL, number, what["type_id"]) for number in step["special_tokens"][what["id"]]["ids"]]
        else:
            source.refuse(f"post_processor TemplateProcessing with {kind}")
    return tuple(slots)


class AddedToken(NamedTuple):
    """A token that is found where it is written in a text, before any word: its text as it is matched."""

    normalised: bool
    text: bytes
    id: int
    flags: int


def read_added_tokens(source: TokenizerSource, normaliser: Any) -> tuple[AddedToken, ...]:
    """Added tokens, in the order in which they are looked for: by set and first byte, the longest first.

    Args:
        source: The tokenizer.
        normaliser: The ``tokenizers`` normaliser of its texts, or None.

    Raises:
        UnsupportedTokenizerError: one has an unknown setting or no text, or two have the same.
    """
    tokens = [_added(source, entry, normaliser) for entry in source.parts.get("added_tokens", [])]
    texts = [(token.normalised, token.text) for token in tokens]
    if len(set(texts)) < len(texts):
        source.refuse("two added tokens of the same text")
    return tuple(sorted(tokens, key=lambda token: (token.normalised, token.text[0], -len(token.text), token.text)))


def _added(source: TokenizerSource, entry: Mapping[str, Any], normaliser: Any) -> AddedToken:
    unknown = sorted(entry.keys() - _ADDED)
    if unknown:
        source.refuse(f"an added token with the setting {unknown[0]}")
    expect(source, "an added token", entry, **dict.fromkeys(sorted(_ADDED - {"id", "content"}), (True, False)))
    text = entry["content"]
    if entry["normalized"] and normaliser is not None:
        text = normaliser.normalize_str(text)
    if not text:
        source.refuse(f"the added token {entry['content']!r}, of which its normalizer leaves nothing")
    flags = sum(flag for name, flag in _FLAGS.items() if entry[name])
    return AddedToken(entry["normalized"], text.encode(), entry["id"], flags)


def packed_added(tokens: Sequence[AddedToken]) -> tuple[bytes, bytes]:
    """The sections of added tokens and of their texts."""
    entries, text = bytearray(), bytearray()
    for token in tokens:
        entries += struct.pack("<4I", len(text), len(token.text), token.id, token.flags)
        text += token.text
    return bytes(entries), bytes(text)


def strip_or_stand_alone(tokens: Sequence[AddedToken]) -> tuple[bool, bool]:
    """Whether any added token strips white space, and whether any is a single word."""
    return (
        any(token.flags & (_STRIPS_LEFT | _STRIPS_RIGHT) for token in tokens),
        any(token.flags & _SINGLE_WORD for token in tokens),
    )
