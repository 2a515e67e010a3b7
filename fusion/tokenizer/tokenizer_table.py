"""From a checkpoint's directory to the table of its tokenizer, of one of three kinds."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fusion.tokenizer import table
from fusion.tokenizer.bert_characters import BertNormaliser, bert_tables
from fusion.tokenizer.characters import (
    BLANK,
    LETTER,
    NUMBER,
    REGEX_SPACE,
    SPACE,
    WORD_CHARACTER,
    CharacterTables,
)
from fusion.tokenizer.clusters import cluster_classes
from fusion.tokenizer.models import ModelTables, byte_pairs, model_kind, unigrams, word_pieces
from fusion.tokenizer.parts import expect, flattened
from fusion.tokenizer.questions import added_token_spaces, added_token_words, removed
from fusion.tokenizer.source import TokenizerSource, read_tokenizer
from fusion.tokenizer.template import (
    AddedToken,
    packed_added,
    read_added_tokens,
    read_template,
    strip_or_stand_alone,
)

_SPACES_MARK = "\u2581"
_CHARSMAP, _STRIP, _JOIN_SPACES = 1, 2, 3
_PREPENDS = {"never": table.NEVER, "first": table.FIRST, "always": table.ALWAYS}
_BERT = {"BertNormalizer": frozenset({"clean_text", "handle_chinese_chars", "strip_accents", "lowercase"})}
_STEPS = {
    "Precompiled": frozenset({"precompiled_charsmap"}),
    "Strip": frozenset({"strip_left", "strip_right"}),
    "Replace": frozenset({"pattern", "content"}),
}
_METASPACE = frozenset({"replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"})


def tokenizer_table(directory: Path) -> bytes:
    """The table of a Hugging Face directory's tokenizer, for ``pb_tokenizer_open`` of ``pocketbert_text.h``.

    Raises:
        DataFileError: the tokenizer cannot be read.
        UnsupportedTokenizerError: it has a part that the C tokenizer does not know; it is named.
    """
    return table_of(read_tokenizer(directory))


def table_of(source: TokenizerSource) -> bytes:
    """As :func:`tokenizer_table`, of a tokenizer that is read."""
    kind = model_kind(source)
    if kind == "WordPiece":
        return _packed(source, table.WORD_PIECE, word_pieces(source), _bert_characters(source), {}, {})
    if kind == "BPE":
        return _packed(source, table.BYTE_LEVEL, byte_pairs(source), _byte_level_characters(), {}, _byte_level(source))
    sections, settings = _steps(source), _metaspace(source)
    return _packed(source, table.UNIGRAM, unigrams(source), _unigram_characters(), sections, settings)


def _packed(
    source: TokenizerSource,
    kind: int,
    model: ModelTables,
    characters: CharacterTables,
    sections: Mapping[str, bytes],
    settings: Mapping[str, Any],
) -> bytes:
    template, added = read_template(source), read_added_tokens(source, _normaliser(source))
    everything = table.Settings(
        padding_id=source.padding_id,
        padding_type=source.padding_type,
        pads_left=source.pads_left,
        cuts_left=source.cuts_left,
        slots_of_one=len(template.one),
        slots_of_two=len(template.two),
        trims=template.trims,
        keeps_first_space=template.keeps_first_space,
        **model.settings,
        **settings,
    )
    entries, texts = packed_added(added)
    blocks, rows, records, pieces = _beside_added(characters, added).packed()
    own = {"settings": everything.packed(), "template": template.packed(), "added": entries, "added_text": texts}
    own |= {"blocks": blocks, "characters": rows, "records": records, "pieces": pieces}
    return table.packed_table(kind, {**own, **model.sections, **sections})


def _normaliser(source: TokenizerSource) -> Any:
    """The library's normaliser of the tokenizer, None where it has none."""
    from tokenizers import Tokenizer

    if source.parts.get("normalizer") is None:
        return None
    empty = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {}, "unk_token": ""}}
    return Tokenizer.from_str(json.dumps({**empty, "normalizer": source.parts["normalizer"]})).normalizer


def _beside_added(tables: CharacterTables, added: Sequence[AddedToken]) -> CharacterTables:
    """The same with what added tokens need to know of their neighbours."""
    strip, stand_alone = strip_or_stand_alone(added)
    flags = tables.flags.copy()
    if strip:
        flags[added_token_spaces()] |= REGEX_SPACE
    if stand_alone:
        flags[added_token_words()] |= WORD_CHARACTER
    return replace(tables, flags=flags)


def _only_pre_tokenizer(source: TokenizerSource, kind: str, settings: frozenset[str]) -> Mapping[str, Any]:
    steps = flattened(source, "pre_tokenizer", {kind: settings})
    if len(steps) != 1:
        source.refuse(f"{len(steps)} pre_tokenizers where one {kind} is known")
    return steps[0]


def _bert_characters(source: TokenizerSource) -> CharacterTables:
    _only_pre_tokenizer(source, "BertPreTokenizer", frozenset())
    steps = flattened(source, "normalizer", _BERT)
    if len(steps) != 1:
        source.refuse(f"{len(steps)} normalizers where one BertNormalizer is known")
    step = steps[0]
    expect(source, "normalizer", step, clean_text=(True, False), handle_chinese_chars=(True, False))
    expect(source, "normalizer", step, strip_accents=(True, False, None), lowercase=(True, False))
    strips = step["lowercase"] if step["strip_accents"] is None else step["strip_accents"]
    return bert_tables(BertNormaliser(step["clean_text"], step["handle_chinese_chars"], strips, step["lowercase"]))


def _byte_level(source: TokenizerSource) -> Mapping[str, Any]:
    flattened(source, "normalizer", {})
    step = _only_pre_tokenizer(source, "ByteLevel", frozenset({"add_prefix_space", "trim_offsets", "use_regex"}))
    expect(source, "pre_tokenizer", step, use_regex=(True, None), add_prefix_space=(True, False))
    return {"prepends": table.ALWAYS if step["add_prefix_space"] else table.NEVER}


@cache
def _byte_level_characters() -> CharacterTables:
    from tokenizers import Regex, pre_tokenizers

    tables = CharacterTables()
    for pattern, flag in ((r"\p{L}", LETTER), (r"\p{N}", NUMBER), (r"\s", BLANK)):
        tables.flags[removed(pre_tokenizers.Split(Regex(pattern), "removed"))] |= flag
    tables.flags[removed(pre_tokenizers.WhitespaceSplit())] |= SPACE
    return tables


def _metaspace(source: TokenizerSource) -> Mapping[str, Any]:
    steps = flattened(source, "pre_tokenizer", {"WhitespaceSplit": frozenset(), "Metaspace": _METASPACE})
    kinds = [step["type"] for step in steps]
    if kinds not in (["Metaspace"], ["WhitespaceSplit", "Metaspace"]):
        source.refuse(f"pre_tokenizer {' and then '.join(kinds) or 'none'} beside Unigram")
    step = steps[-1]
    expect(source, "pre_tokenizer", step, replacement=(_SPACES_MARK,), str_rep=(_SPACES_MARK, None))
    expect(source, "pre_tokenizer", step, prepend_scheme=tuple(_PREPENDS), split=(True, False))
    return {
        "prepends": _PREPENDS[step["prepend_scheme"]],
        "splits_at_spaces": len(steps) > 1,
        "splits_at_marks": step["split"],
    }


@cache
def _unigram_characters() -> CharacterTables:
    from tokenizers import pre_tokenizers

    tables = CharacterTables(clusters=cluster_classes())
    tables.flags[removed(pre_tokenizers.WhitespaceSplit())] |= SPACE
    return tables


def _steps(source: TokenizerSource) -> Mapping[str, bytes]:
    """Sections of the normaliser's steps."""
    entries, text, charsmap = bytearray(), bytearray(), b""
    for step in flattened(source, "normalizer", _STEPS):
        if step["type"] == "Precompiled":
            own = _charsmap_bytes(step)
            if charsmap not in (b"", own):
                source.refuse("two different tables precompiled_charsmap")
            charsmap = own
            entries += struct.pack("<3i", _CHARSMAP, 0, 0)
        elif step["type"] == "Strip":
            entries += struct.pack("<3i", _STRIP, bool(step["strip_left"]), bool(step["strip_right"]))
        else:
            expect(source, "normalizer", step, pattern=({"Regex": " {2,}"},))
            entries += struct.pack("<3i", _JOIN_SPACES, len(text), len(text) + len(step["content"].encode()))
            text += step["content"].encode()
    sections = {"steps": bytes(entries), "step_text": bytes(text)}
    if charsmap:
        size = int.from_bytes(charsmap[:4], "little")
        texts = charsmap[4 + size :]
        sections |= {"charsmap_trie": charsmap[4 : 4 + size], "charsmap_text": texts + b"\0" * (texts[-1:] != b"\0")}
    return sections


def _charsmap_bytes(step: Mapping[str, Any]) -> bytes:
    return base64.b64decode(step["precompiled_charsmap"])
