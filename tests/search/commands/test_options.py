"""The shared bits of the command lines: quantities, errors as one line, exit codes, JSON."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import sqlite3
import sys

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DeviceError, InfeasibleBudgetError, InputError, StoreError
from data.usable_processors import UsableProcessors
from search.commands._options import (
    DURATION_MS,
    DURATION_S,
    SIZE_BYTES,
    Command,
    emit_json,
    hold_libraries,
    is_disk_full,
    run_command,
)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("50ms", 50),
        ("0.05s", 50),
        ("1.5s", 1500),
        (" 8 MS ", 8),
        ("500us", 0.5),
        ("1e1ms", 10),
        ("1e-2s", 10),
        ("500\N{MICRO SIGN}s", 0.5),
        ("500\N{GREEK SMALL LETTER MU}s", 0.5),
        ("500 \N{GREEK CAPITAL LETTER MU}S", 0.5),
        ("8\N{NO-BREAK SPACE}ms", 8),
        ("\N{FULLWIDTH DIGIT EIGHT}ms", 8),
        ("50 msec", 50),
        ("8 milliseconds", 8),
        (".05 sec", 50),
    ],
)
def test_durations_in_milliseconds(text: str, milliseconds: float) -> None:
    assert DURATION_MS.convert(text, None, None) == pytest.approx(milliseconds)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("90s", 90), ("1.5h", 5400), ("250ms", 0.25), ("5 minutes", 300)]
)
def test_durations_in_seconds(text: str, seconds: float) -> None:
    assert DURATION_S.convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"), [("25MB", 25_000_000), ("24MiB", 24 * 2**20), ("1.5kb", 1500), ("7B", 7), ("25 mib", 25 * 2**20)]
)
def test_sizes(text: str, size: int) -> None:
    assert SIZE_BYTES.convert(text, None, None) == size


@pytest.mark.parametrize(
    "text",
    ["50", "soon", "", "-5ms", "0ms", "1e999s", "nanms", "5 parsecs", "ms", "5ms5", "infms", "0,05s", "5m", "1_000ms"],
)
def test_nonsense_durations_are_bad_usage(text: str) -> None:
    with pytest.raises(click.BadParameter) as error:
        DURATION_MS.convert(text, None, None)
    assert "50ms" in error.value.message


def test_a_decimal_comma_is_named() -> None:
    with pytest.raises(click.BadParameter, match="a point for the decimals"):
        DURATION_MS.convert("0,05s", None, None)


def test_a_size_below_one_byte_is_no_size() -> None:
    with pytest.raises(click.BadParameter, match="not a positive size"):
        SIZE_BYTES.convert("0.2B", None, None)


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_bad_usage(text: str) -> None:
    with contextlib.suppress(click.BadParameter):
        assert DURATION_S.convert(text, None, None) > 0


@pytest.mark.parametrize(
    ("raised", "exit_code"),
    [
        (InputError("no\nsuch task"), 2),
        (InfeasibleBudgetError("too fast"), 3),
        (DeviceError("unplugged"), 4),
        (StoreError("damaged"), 1),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 1),
        (RuntimeError("safetensors: No space left on device (os error 28)"), 1),
        (KeyboardInterrupt("trials are kept; add --resume"), 130),
    ],
)
def test_user_errors_are_one_line_with_their_exit_code(raised: BaseException, exit_code: int) -> None:
    result = CliRunner().invoke(_command(raised), ["--budget", "5ms"])
    assert result.exit_code == exit_code
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_interrupt_says_what_is_kept() -> None:
    result = CliRunner().invoke(_command(KeyboardInterrupt("2 trials are kept; add --resume")), ["--budget", "5ms"])
    assert "2 trials are kept; add --resume" in result.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["--budget", "50"], ["--budget", "5ms", "--nonsense"], ["--budget", "5ms", "x"]]
)
def test_usage_errors_are_one_line_and_exit_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(_command(None), arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--budget", "5ms", "--budget", "6ms"], "--budget is given 2 times"),
        (["--budget=5ms", "--budget", "5ms", "--budget=5ms"], "--budget is given 3 times"),
        (["--budget", "5ms", "-n", "a", "--name", "b"], "--name is given 2 times"),
        (["--budget", ""], "--budget is empty"),
        (["--budget", "5ms", "--name", " "], "--name is empty"),
        (["--budget", "5ms", "--serial", "A", "--serial", ""], "--serial is empty"),
        (["--budget", "5ms", "--name", "--json"], "--name needs a value: --json follows"),
        (["--budget", "5ms", "--name", "--serial=A"], "--name needs a value"),
    ],
)
def test_what_would_be_passed_over_is_bad_usage(arguments: list[str], part: str) -> None:
    result = CliRunner().invoke(_command(None), arguments)
    assert result.exit_code == 2
    assert part in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_may_be_repeated_is_not_refused() -> None:
    arguments = ["--budget", "5ms", "--serial", "A", "--serial", "B", "--json", "--json"]
    assert CliRunner().invoke(_command(None), arguments).exit_code == 0


@pytest.mark.parametrize("command", ["search", "profile_device", "portability_study", "fuse_model"])
def test_every_option_of_the_four_commands_is_taken_once(command: str) -> None:
    main = importlib.import_module(f"search.commands.{command}").main
    for option in main.params:
        if not isinstance(option, click.Option) or option.is_flag or option.multiple:
            continue
        result = CliRunner().invoke(main, [option.opts[0], "1", option.opts[0], "2"])
        assert result.exit_code == 2
        assert f"{option.opts[0]} is given 2 times" in result.stderr


@pytest.mark.parametrize(
    ("command", "arguments", "part"),
    [
        ("fuse_model", ["bert-base", "--rounds", "3"], "--rounds belongs to --bench"),
        ("fuse_model", ["bert-base", "--compare", "pytorch", "--litert-python", sys.executable], "--compare litert"),
        ("fuse_model", ["bert-base", "--no-fusion", "--fusion-cost", "measured"], "--fusion-cost settles"),
        ("fuse_model", ["bert-base", "--threads", "100000"], "cores"),
        ("fuse_model", [""], "is empty"),
        ("portability_study", ["--table", "t.csv", "--models", "20"], "--models belongs to --devices"),
    ],
)
def test_options_that_would_change_nothing_are_refused(command: str, arguments: list[str], part: str) -> None:
    result = CliRunner().invoke(importlib.import_module(f"search.commands.{command}").main, arguments)
    assert result.exit_code == 2
    assert part in result.stderr
    assert result.stderr.count("\n") == 1


def test_defects_keep_their_traceback() -> None:
    result = CliRunner().invoke(_command(ZeroDivisionError("ours")), ["--budget", "5ms"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_help_and_success_exit_0() -> None:
    assert CliRunner().invoke(_command(None), ["--help"]).exit_code == 0
    result = CliRunner().invoke(_command(None), ["--budget", "5ms"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"budget_ms": 5.0}


def test_json_refuses_what_json_does_not_know() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        emit_json({"score": float("nan")})


def test_a_full_disk_is_recognised_behind_another_error() -> None:
    error = RuntimeError("cannot write the checkpoint")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_disk_full(error)
    assert not is_disk_full(sqlite3.OperationalError("database is locked"))


def _command(raised: BaseException | None) -> click.Command:
    @click.command(cls=Command)
    @click.option("--budget", type=DURATION_MS, required=True)
    @click.option("--name", "-n")
    @click.option("--serial", multiple=True)
    @click.option("--json", "as_json", is_flag=True)
    @run_command
    def main(budget: float, name: str | None, serial: tuple[str, ...], as_json: bool) -> None:
        if raised is not None:
            raise raised
        emit_json({"budget_ms": budget})

    return main


@pytest.mark.parametrize(
    ("usable", "given", "threads"),
    [
        (UsableProcessors(64, 2.0), {}, "2"),
        (UsableProcessors(64, 2.0), {"OMP_NUM_THREADS": "3"}, "3"),
        (UsableProcessors(64), {}, None),
    ],
)
def test_libraries_heed_a_quota_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, usable: UsableProcessors, given: dict[str, str], threads: str | None
) -> None:
    monkeypatch.setattr("search.commands._options.usable_processors", lambda: usable)
    hold_libraries(given)
    assert given.get("OMP_NUM_THREADS") == threads
