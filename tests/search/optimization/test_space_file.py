"""Spaces from files: what they say, and what is refused with file, key and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import DataFileError, InputError
from search.optimization.space_file import read_space
from search.options import SpaceFile, precision_choice

KEYS = ("layers", "hidden", "intermediate")


def read(folder: Path, text: str | bytes) -> SpaceFile:
    path = folder / "space.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_space(path)


def test_lists_and_ranges_name_values_and_missing_keys_none(tmp_path: Path) -> None:
    found = read(
        tmp_path, "layers = [12, 4, 6]\nhidden = {from = 64, to = 192, step = 64}\n[head_size]\nfrom=3\nto=5\n"
    )
    assert found == SpaceFile(
        str(tmp_path / "space.toml"), layers=(4, 6, 12), hidden=(64, 128, 192), head_size=(3, 4, 5)
    )
    assert found.intermediate is None and found.heads is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.dictionaries(st.sampled_from(KEYS), st.sets(st.integers(1, 128), min_size=1, max_size=6), min_size=1),
    first=st.integers(1, 50),
    step=st.integers(1, 50),
    count=st.integers(1, 20),
)
def test_all_values_are_kept(values: dict[str, set[int]], first: int, step: int, count: int, tmp_path: Path) -> None:
    lines = [f"{key} = {list(found)}" for key, found in values.items()]
    last = first + step * (count - 1)
    found = read(tmp_path, "\n".join([*lines, f"heads = {{ from = {first}, to = {last}, step = {step} }}"]))
    assert {key: set(getattr(found, key)) for key in values} == values
    assert found.heads == tuple(range(first, last + 1, step))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no values"),
        ("layers = ", "not TOML"),
        ("layers = [" + "9" * 5000 + "]", "not TOML"),
        ("a = " + "[" * 5000, "not TOML"),
        (b"\xff", "not UTF-8 text"),
        ("layer = [2]", "unknown key 'layer', did you mean 'layers'? (known: layers, hidden, heads"),
        ("[space]\nlayers = [2]", "unknown key 'space' (known:"),
        ("layers = []", "layers: an empty list leaves nothing to choose"),
        ("layers = 4", "layers: 4 is neither a list nor a range: write layers = [4], or layers = { from = 2"),
        ('hidden = "64"', "hidden: '64' is neither a list nor a range"),
        ("heads = [2.0]", "heads: 2.0 is no positive whole number"),
        ("heads = [true]", "heads: True is no positive whole number"),
        ("heads = [[2]]", "heads: [2] is no positive whole number"),
        ("hidden = [0]", "hidden: 0 is no positive whole number"),
        ("hidden = [-64]", "hidden: -64 is no positive whole number"),
        ("layers = [2, 4, 2]", "layers: 2 is named twice"),
        ("layers = [200]", "layers: 200 are too many"),
        ("layers = { to = 4 }", "layers: a range needs 'from'"),
        ("layers = { from = 4 }", "layers: a range needs 'to': write it like layers = { from = 2, to = 12, step = 2 }"),
        ("layers = { from = 4, to = 2 }", "layers: from 4 to 2 is empty"),
        ("layers = { from = 2, to = 7, step = 2 }", "layers: steps of 2 from 2 miss 7: let to be 6 or 8"),
        ("layers = { from = 2, to = 7, step = 0 }", "layers.step: 0 is no positive whole number"),
        ("layers = { from = 2, upto = 7 }", "layers: unknown key 'upto', did you mean 'to'?"),
        ("hidden = { from = 1, to = 9000000000000 }", "hidden: 9,000,000,000,000 values are too many"),
        ("heads = [2]\nhead_size = [32]", "heads and head_size say the same in two ways"),
        ("precisions = ['int8']", "unknown key 'precisions', did you mean 'precision'?"),
        ("precision = 'int8'", 'precision: \'int8\' is no list: write precision = ["fp32", "int8"]'),
        ("precision = { from = 8, to = 32 }", "precision: {'from': 8, 'to': 32} is no list"),
        ("precision = []", "precision: an empty list leaves nothing to choose"),
        ("precision = ['fp16']", "precision: 'fp16' is not searched: name some of fp32, int8"),
        ("precision = [8]", "precision: 8 is not searched"),
        ("precision = [['int8']]", "precision: ['int8'] is not searched"),
        ("precision = ['int8', 'int8']", "precision: 'int8' is named twice"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_key(text: str | bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataFileError) as raised:
        read(tmp_path, text)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'space.toml'}: ") and told in message
    assert "\n" not in message


def test_a_file_may_name_precisions_in_any_order(tmp_path: Path) -> None:
    assert read(tmp_path, 'precision = ["int8", "fp32"]').precision == ("fp32", "int8")
    assert read(tmp_path, 'layers = [2]\nprecision = ["int8"]').precision == ("int8",)
    assert read(tmp_path, "layers = [2]").precision is None


@pytest.mark.parametrize(
    ("given", "named", "choice"),
    [
        (None, None, "fp32"),
        ("auto", None, "auto"),
        (None, ("fp32",), "fp32"),
        (None, ("int8",), "int8"),
        (None, ("fp32", "int8"), "auto"),
        ("int8", ("int8",), "int8"),
        ("auto", ("fp32", "int8"), "auto"),
    ],
)
def test_the_precision_is_what_either_says(given: Any, named: Any, choice: str) -> None:
    assert precision_choice(given, SpaceFile("space.toml", precision=named)) == choice


def test_precisions_that_contradict_each_other_are_told_with_the_file() -> None:
    with pytest.raises(InputError, match=r"--precision auto contradicts space.toml, whose precisions are int8: leave"):
        precision_choice("auto", SpaceFile("space.toml", precision=("int8",)))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read --space .*none.toml: No such file"):
        read_space(tmp_path / "none.toml")
