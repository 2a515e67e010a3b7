"""The C tokenizer in this process, beside Hugging Face's."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fusion.build.toolchain import RUNTIME, TEXT_SOURCES

_ERROR_BYTES = 256


class Encoded(NamedTuple):
    """What one call gives: arrays [length], spans as (start, end) and sequences (-1 for none)."""

    ids: list[int]
    types: list[int]
    mask: list[int]
    spans: list[tuple[int, int]]
    sequences: list[int]


class NativeTokenizer:
    """A tokenizer of a library that holds ``runtime/text``, open on a table."""

    def __init__(self, library: Path, table: bytes) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.pb_tokenizer_open.restype = ctypes.c_void_p
        # Eight bytes at a time, so that the table is aligned.
        self._table = (ctypes.c_uint64 * (-(-len(table) // 8) or 1))()
        ctypes.memmove(self._table, table, len(table))
        message = ctypes.create_string_buffer(_ERROR_BYTES)
        start = time.perf_counter()
        handle = self._library.pb_tokenizer_open(self._table, ctypes.c_size_t(len(table)), message, _ERROR_BYTES)
        self.opening_s = time.perf_counter() - start
        if not handle:
            raise ValueError(message.value.decode())
        self._handle = ctypes.c_void_p(handle)
        self.removed = 0

    def close(self) -> None:
        self._library.pb_tokenizer_close(self._handle)

    def raw(self, text: bytes, pair: bytes | None, length: int, arrays: Sequence[np.ndarray], cuts: bool = True) -> int:
        """``pb_tokenize`` into ids, types, mask and spans; ``ValueError`` of its message."""
        message, removed = ctypes.create_string_buffer(_ERROR_BYTES), ctypes.c_int(-1)
        second = (pair, ctypes.c_size_t(len(pair))) if pair is not None else (None, ctypes.c_size_t(0))
        used = self._library.pb_tokenize(
            self._handle,
            text,
            ctypes.c_size_t(len(text)),
            *second,
            *(ctypes.c_void_p(array.ctypes.data) for array in arrays),
            length,
            ctypes.byref(removed) if cuts else None,
            message,
            ctypes.c_size_t(_ERROR_BYTES),
        )
        if used < 0:
            raise ValueError(message.value.decode())
        self.removed = removed.value
        return int(used)

    def encode(self, text: str, pair: str | None = None, length: int = 128) -> Encoded:
        """All that one call gives."""
        ids, types, mask = (np.full(max(length, 1), -7, np.int64) for _ in range(3))
        spans = np.full((max(length, 1), 3), -7, np.int32)
        second = None if pair is None else pair.encode()
        used = self.raw(text.encode(), second, length, (ids, types, mask, spans))
        assert used == mask[:length].sum()
        numbers = [array[:length].tolist() for array in (ids, types, mask)]
        return Encoded(*numbers, [tuple(row) for row in spans[:length, :2].tolist()], spans[:length, 2].tolist())


def hugging_face(tokenizer: Any, text: str, pair: str | None = None, length: int = 128) -> Encoded:
    """The same of a transformers tokenizer."""
    (row,) = hugging_face_batch(tokenizer, [text], None if pair is None else [pair], length)
    return row


def hugging_face_batch(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None = None, length: int | None = None
) -> list[Encoded]:
    """The same of many texts; without a length nothing is cut, and nothing padded."""
    batch = tokenizer(
        list(texts),
        None if pairs is None else list(pairs),
        truncation=length is not None,
        padding="max_length" if length is not None else False,
        max_length=length,
        verbose=False,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    return [
        Encoded(
            batch["input_ids"][row],
            batch["token_type_ids"][row],
            batch["attention_mask"][row],
            [tuple(span) for span in batch["offset_mapping"][row]],
            [-1 if number is None else number for number in batch.sequence_ids(row)],
        )
        for row in range(len(texts))
    ]


def sources() -> list[Path]:
    """The C files of the tokenizer."""
    return [RUNTIME / name for name in TEXT_SOURCES]


def built_library(folder: Path) -> Path:
    """The C tokenizer as a library of its own, compiled as models are."""
    library = folder / "text.so"
    flags = ["-std=c11", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror"]
    command = [sys.executable, "-m", "ziglang", "cc", *flags, "-shared", "-I", str(RUNTIME), *map(str, sources())]
    subprocess.run([*command, "-o", str(library)], check=True, timeout=300)
    return library


def is_equal_whole(native: NativeTokenizer, text: str, pair: str | None, expected: Encoded) -> bool:
    """Whether texts of which nothing is cut give this in as many positions, and say that nothing was cut."""
    return native.encode(text, pair, len(expected.ids)) == expected and native.removed == 0


def compare(native: NativeTokenizer, tokenizer: Any, texts: Sequence[str], lengths: Sequence[int]) -> None:
    """Asserts that texts, alone and each with the next one, give what Hugging Face's tokenizer gives at each length."""
    pairs = [*texts[1:], *texts[:1]]
    for length in lengths:
        for second in (None, pairs):
            expected = hugging_face_batch(tokenizer, texts, second, length)
            for place, text in enumerate(texts):
                pair = None if second is None else second[place]
                assert native.encode(text, pair, length) == expected[place], ascii((text, pair, length))
