"""The C tokenizer beside Hugging Face's: ``python -m tests.benchmarks.tokenizer --data DIR``.

DIR holds ``wikitext-2``, ``MRPC`` and ``STS-B``. Vocabularies of each kind are trained on wikitext-2 and on generated
Unicode strings. Tokens, types, masks and spans of every whole text are compared; then one core's speed, the time to
open a table and the table's size. Ends with 1 where anything differs.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from fusion.tokenizer.tokenizer_table import tokenizer_table
from tests.fusion.tokenizer import checkpoints
from tests.fusion.tokenizer.native import NativeTokenizer, built_library, hugging_face_batch, is_equal_whole
from tests.fusion.tokenizer.texts import generated_texts

_KINDS = ("WordPiece", "byte-level BPE", "Unigram")
_WORDS, _TRAINED_ON = 30_522, 20_000
_BATCH = 500
_ROUNDS, _OPENINGS = 5, 51
_SPEED_LENGTH = 512
_MEGABYTE = 1e6


def wikitext(data: Path) -> list[str]:
    """Every line of wikitext-2 that holds anything."""
    files = sorted((data / "wikitext-2").glob("*.txt"))
    return [line for file in files for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]


def pairs_of(data: Path, task: str) -> list[tuple[str, str]]:
    """The last two texts of every row of a GLUE task's files, without looking at what else is there."""
    columns = {"MRPC": (3, 4), "STS-B": (7, 8)}[task]
    rows = []
    for file in sorted((data / task).glob("*.tsv")):
        for line in file.read_text(encoding="utf-8").splitlines()[1:]:
            cells = line.split("\t")
            rows.append((cells[columns[0]], cells[columns[1]]))
    return rows


def trained(kind: str, texts: Sequence[str]) -> Any:
    """A tokenizer of transformers with a vocabulary that is trained on these texts."""
    if kind == "WordPiece":
        return checkpoints.bert_tokenizer(checkpoints.train_word_pieces(texts, _WORDS))
    if kind == "byte-level BPE":
        return checkpoints.roberta_tokenizer(checkpoints.train_byte_pairs(texts, _WORDS))
    return checkpoints.xlm_roberta_tokenizer(checkpoints.train_unigrams(texts, _WORDS))


def differing(native: NativeTokenizer, tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None) -> list[str]:
    """Texts of which anything differs."""
    found = []
    for first in range(0, len(texts), _BATCH):
        part = texts[first : first + _BATCH]
        seconds = None if pairs is None else pairs[first : first + _BATCH]
        expected = hugging_face_batch(tokenizer, part, seconds)
        together = zip(part, seconds or [None] * len(part), expected, strict=True)
        found += [text for text, pair, row in together if not is_equal_whole(native, text, pair, row)]
    return found


def seconds_of(work: Callable[[], object], rounds: int) -> float:
    """The median of so many runs, in seconds of this process's processor time."""
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def native_speed(native: NativeTokenizer, texts: Sequence[str]) -> float:
    """MB/s of the C tokenizer, called for one text after another; what Python does for a call is counted too."""
    arrays = (*(np.zeros(_SPEED_LENGTH, np.int64) for _ in range(3)), np.zeros((_SPEED_LENGTH, 3), np.int32))
    encoded = [text.encode() for text in texts]

    def work() -> None:
        for text in encoded:
            native.raw(text, None, _SPEED_LENGTH, arrays)

    return sum(map(len, encoded)) / seconds_of(work, _ROUNDS) / _MEGABYTE


def library_speed(tokenizer: Any, texts: Sequence[str]) -> float:
    """MB/s of ``tokenizers`` itself, on one core, in batches, without transformers' work on what it gives."""
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.enable_truncation(_SPEED_LENGTH)

    def work() -> None:
        for first in range(0, len(texts), _BATCH):
            backend.encode_batch(texts[first : first + _BATCH])

    return sum(len(text.encode()) for text in texts) / seconds_of(work, _ROUNDS) / _MEGABYTE


def opening_ms(library: Path, table: bytes) -> float:
    """Milliseconds to open a table, with the check of its sum, the median."""
    times = []
    for _ in range(_OPENINGS):
        tokenizer = NativeTokenizer(library, table)
        times.append(1e3 * tokenizer.opening_s)
        tokenizer.close()
    return statistics.median(times)


def rows_of(kind: str, data: Path, generated: Sequence[str], library: Path) -> Iterator[dict[str, Any]]:
    """What is compared of a kind, a row each, then its figures."""
    from transformers import AutoTokenizer

    lines = wikitext(data)
    with tempfile.TemporaryDirectory() as folder:
        directory = checkpoints.saved(trained(kind, [*lines[:_TRAINED_ON], *generated[:2000]]), Path(folder))
        tokenizer = AutoTokenizer.from_pretrained(directory)
        start = time.process_time()
        table = tokenizer_table(directory)
        made_s = time.process_time() - start
    native = NativeTokenizer(library, table)
    compared: list[tuple[str, Sequence[str], Sequence[str] | None]] = [("wikitext-2", lines, None)]
    for task in ("MRPC", "STS-B"):
        firsts, seconds = zip(*pairs_of(data, task), strict=True)
        compared.append((task, firsts, seconds))
    compared += [("generated", generated, None), ("generated pairs", generated[::10], generated[1::10])]
    for name, texts, pairs in compared:
        differ = differing(native, tokenizer, texts, pairs)
        for text in differ[:3]:
            click.echo(f"differs: {text!a}", err=True)
        yield {"kind": kind, "texts": name, "count": len(texts), "differ": len(differ)}
    yield {
        "kind": kind,
        "words": len(tokenizer),
        "table bytes": len(table),
        "table made, s": made_s,
        "opened, ms": opening_ms(library, table),
        "MB/s": native_speed(native, lines),
        "tokenizers, MB/s": library_speed(tokenizer, lines),
    }


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Where the texts are.")
@click.option("--generated", type=click.IntRange(min=100), default=100_000, show_default=True, help="Strings to make.")
@click.option("--kinds", default=",".join(_KINDS), show_default=True, help="Kinds of tokenizers.")
def main(data: Path, generated: int, kinds: str) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    texts = list(generated_texts(generated, seed=2026))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        library = built_library(Path(folder))
        for kind in kinds.split(","):
            for row in rows_of(kind, data, texts, library):
                click.echo(json.dumps(row), err=True)
                found.append(row)
    agreement = [row for row in found if "differ" in row]
    click.echo(_markdown(agreement))
    click.echo(_markdown([row for row in found if "differ" not in row]))
    raise SystemExit(any(row["differ"] for row in agreement))


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    head = [f"| {' | '.join(rows[0])} |", f"|{' --- |' * len(rows[0])}"]
    return "\n".join([*head, *(f"| {' | '.join(map(_shown, row.values()))} |" for row in rows), ""])


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
