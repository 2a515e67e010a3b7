"""The fuzzing target: tables with small vocabularies, first inputs, and programs that try it."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fusion.build.toolchain import RUNTIME
from fusion.tokenizer.tokenizer_table import tokenizer_table
from tests.fusion.tokenizer import checkpoints
from tests.fusion.tokenizer.native import sources
from tests.fusion.tokenizer.texts import generated_texts

NATIVE = Path(__file__).parent / "native"
_CHANGES, _PAIR, _NO_CUT, _ONLY_IDS = 1, 2, 4, 8


def written_tables(folder: Path) -> list[Path]:
    """A table of each kind, and of one with added tokens that strip white space."""
    texts = list(generated_texts(400, seed=0))
    words = checkpoints.train_word_pieces(texts, 1500)
    merges = checkpoints.train_byte_pairs(texts, 500)
    pieces = checkpoints.train_unigrams(texts, 700)
    made = {
        "bert": checkpoints.bert_tokenizer(words),
        "roberta": checkpoints.roberta_tokenizer(merges, add_prefix_space=True),
        "xlm-roberta": checkpoints.xlm_roberta_tokenizer(pieces),
        "sentence-piece": checkpoints.sentence_piece_tokenizer(pieces, padding_side="left", truncation_side="left"),
    }
    tables = []
    for name, tokenizer in made.items():
        table = folder / f"{name}.bin"
        table.write_bytes(tokenizer_table(checkpoints.saved(tokenizer, folder / name)))
        tables.append(table)
    return tables


def written_inputs(folder: Path, tables: int, count: int) -> list[Path]:
    """First inputs of the target, in its form: generated texts, with and without changes of the table."""
    chance = random.Random(1)
    files = []
    for number, text in enumerate(generated_texts(count, seed=2)):
        flags = sum(flag for flag in (_CHANGES, _PAIR, _NO_CUT, _ONLY_IDS) if chance.random() < 0.3)
        head = struct.pack("<BBHB", number % tables, flags, chance.choice((0, 8, 64, 512)), chance.randrange(256))
        changes = b""
        if flags & _CHANGES:
            several = [struct.pack("<IB", chance.getrandbits(32), chance.choice((0, 1, 255))) for _ in range(3)]
            changes = bytes([len(several)]) + b"".join(several)
        file = folder / f"input{number:04}"
        file.write_bytes(head + changes + text.encode()[:2000])
        files.append(file)
    return files


def built_target(compiler: Sequence[str], flags: Sequence[str], program: Path, others: Sequence[Path] = ()) -> Path:
    """The target as a program, of this compiler with these flags, with sanitizers."""
    command = [*compiler, "-std=gnu11", "-O1", "-g", "-fno-sanitize-recover=all", *flags, "-I", str(RUNTIME)]
    files = [*sources(), NATIVE / "fuzz.c", *others]
    subprocess.run([*command, *map(str, files), "-o", str(program)], check=True, timeout=300)
    return program
