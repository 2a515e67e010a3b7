"""Answers a text, or two, in Python, by nothing but ctypes. In the folder of model.so, weights.bin and tokenizer.bin:

python answer.py "a text"
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PB_THREADS = 2
FROM_PATH = 1
CLASSIFIES, FINDS_ENTITIES, EMBEDS = 1, 2, 3
ERROR_BYTES = 512


class Source(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int),
        ("path", ctypes.c_char_p),
        ("descriptor", ctypes.c_int),
        ("offset", ctypes.c_int64),
        ("memory", ctypes.c_void_p),
        ("length", ctypes.c_int64),
    )


class Label(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("index", ctypes.c_int), ("score", ctypes.c_float))


class Entity(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("label", ctypes.c_int),
        ("score", ctypes.c_float),
        ("start", ctypes.c_int32),
        ("end", ctypes.c_int32),
    )


class TextModel:
    """``removed`` is how many tokens of the last text were cut off, because the model takes no more."""

    def __init__(self, folder: Path = FOLDER, threads: int = PB_THREADS) -> None:
        self.removed = 0
        self._library = ctypes.CDLL(str(folder / "model.so"))
        self._library.pb_text_open.restype = ctypes.c_void_p
        sources = (Source(FROM_PATH, str(folder / name).encode()) for name in ("weights.bin", "tokenizer.bin"))
        error = ctypes.create_string_buffer(ERROR_BYTES)
        opened = self._library.pb_text_open(
            *(ctypes.byref(source) for source in sources), threads, None, error, ctypes.c_size_t(ERROR_BYTES)
        )
        if not opened:
            raise OSError(error.value.decode())
        self._model = ctypes.c_void_p(opened)
        self.kind = self._library.pb_answer_kind(self._model)
        self._size = self._library.pb_answer_size(self._model)

    def classify(self, text: str, pair: str | None = None) -> list[tuple[str, float]]:
        """[(label, score)], the best first."""
        labels = (Label * self._size)()
        count = self._ask(self._library.pb_classify, text, _bytes(pair), labels)
        return [(label.name.decode(), label.score) for label in labels[:count]]

    def find_entities(self, text: str) -> list[tuple[str, float, int, int]]:
        """[(name, score, start, end)] of the text's characters."""
        entities = (Entity * self._size)()
        count = self._ask(self._library.pb_find_entities, text, (), entities)
        return [(entity.name.decode(), entity.score, entity.start, entity.end) for entity in entities[:count]]

    def embed(self, text: str, pair: str | None = None) -> list[float]:
        """The text's vector."""
        vector = (ctypes.c_float * self._size)()
        self._ask(self._library.pb_embed, text, _bytes(pair), vector)
        return list(vector)

    def close(self) -> None:
        self._library.pb_text_close(self._model)

    def _ask(self, question: Any, text: str, pair: tuple[Any, ...], answers: Any) -> int:
        error, removed = ctypes.create_string_buffer(ERROR_BYTES), ctypes.c_int()
        told = (ctypes.byref(removed), error, ctypes.c_size_t(ERROR_BYTES))
        count: int = question(self._model, *_bytes(text), *pair, answers, self._size, *told)
        if count < 0:
            raise ValueError(error.value.decode())
        self.removed = removed.value
        return count


def _bytes(text: str | None) -> tuple[Any, ...]:
    if text is None:
        return None, ctypes.c_size_t(0)
    encoded = text.encode()
    return encoded, ctypes.c_size_t(len(encoded))


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: {sys.argv[0]} TEXT [PAIR]")
    model = TextModel()
    answer: list[Any]
    if model.kind == FINDS_ENTITIES:
        if len(sys.argv) > 2:
            sys.exit("error: the model finds entities in one text")
        answer = model.find_entities(sys.argv[1])
    else:
        ask = model.classify if model.kind == CLASSIFIES else model.embed
        answer = ask(*sys.argv[1:])
    for part in answer:
        print(*part if isinstance(part, tuple) else (part,))
    if model.removed:
        print(f"{model.removed} tokens were cut off: the model takes no more", file=sys.stderr)
    model.close()


if __name__ == "__main__":
    main()
