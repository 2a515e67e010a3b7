"""Tables that are damaged are errors with a reason, and no bytes of a table or a text are read beyond their ends."""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fusion.tokenizer.table import checksum
from fusion.tokenizer.tokenizer_table import tokenizer_table
from tests.fusion.build.gcc import needs_gcc
from tests.fusion.tokenizer import checkpoints
from tests.fusion.tokenizer.fuzzing import NATIVE, built_target, written_inputs, written_tables
from tests.fusion.tokenizer.native import NativeTokenizer


@pytest.fixture(scope="module")
def table(tmp_path_factory: Any) -> bytes:
    made = checkpoints.roberta_tokenizer(checkpoints.byte_pairs())
    return tokenizer_table(checkpoints.saved(made, tmp_path_factory.mktemp("roberta")))


def opened(library: Path, table: bytes) -> None:
    NativeTokenizer(library, table).close()


def test_one_bit_that_changes_is_found(table: bytes, library: Path) -> None:
    opened(library, table)
    chance = random.Random(3)
    for _ in range(300):
        place, bit = chance.randrange(len(table)), 1 << chance.randrange(8)
        changed = table[:place] + bytes([table[place] ^ bit]) + table[place + 1 :]
        with pytest.raises(ValueError, match="table"):
            opened(library, changed)


@pytest.mark.parametrize("left", [0, 7, 39, 100, 1000, -1, -8, -4096])
def test_a_table_that_is_cut_is_not_opened(left: int, table: bytes, library: Path) -> None:
    with pytest.raises(ValueError, match=r"no table of a tokenizer|not whole"):
        opened(library, table[:left])


def test_two_words_that_change_places_are_found(table: bytes, library: Path) -> None:
    words = [table[at : at + 4] for at in range(0, len(table), 4)]
    words[-300], words[-200] = words[-200], words[-300]
    assert b"".join(words) != table
    with pytest.raises(ValueError, match="checksum"):
        opened(library, b"".join(words))


def test_another_version_is_said(table: bytes, library: Path) -> None:
    with pytest.raises(ValueError, match="another version than this library"):
        opened(library, table[:8] + struct.pack("<I", 2) + table[12:])


@pytest.mark.parametrize("kind", [0, 4])
def test_an_unknown_kind_is_said(kind: int, table: bytes, library: Path) -> None:
    changed = table[:12] + struct.pack("<I", kind) + table[16:]
    signed = changed[:24] + struct.pack("<QQ", *checksum(changed)) + changed[40:]
    with pytest.raises(ValueError, match="unknown kind"):
        opened(library, signed)


@needs_gcc
def test_inputs_and_tables_that_are_changed_at_random_under_sanitizers(tmp_path: Path) -> None:
    tables = written_tables(tmp_path)
    files = written_inputs(tmp_path, len(tables), 200)
    flags = ["-fsanitize=address,undefined", "-Wall", "-Wextra", "-Werror"]
    program = built_target(["gcc"], flags, tmp_path / "random_inputs", [NATIVE / "random_inputs.c"])
    environment = os.environ | {"POCKETBERT_TABLES": ":".join(map(str, tables))}
    done = subprocess.run(
        [program, "2000", *map(str, files)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.fullmatch(r"2000 inputs\n", done.stdout)
