"""What the four commands share: durations and sizes, errors as one line, JSON on standard output, live progress.

Nothing here imports the heavy libraries, so that ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import json
import math
import re
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NoReturn

import click

from data.errors import PocketBertError
from search.commands.progress import ProgressPrinter

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "DURATION_MS",
    "DURATION_S",
    "SIZE_BYTES",
    "Command",
    "ProgressPrinter",
    "console",
    "emit_json",
    "run_command",
]

INTERRUPTED_EXIT_CODE = 130  # 128 + SIGINT, as shells report it
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-zµ]*)\s*", re.IGNORECASE)


class _Quantity(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """A positive number with one of the given units, turned into the first unit's scale.

    A plain number is refused: 50 what? Zero, negative and non-finite quantities are refused as well.
    """

    def __init__(self, name: str, scales: Mapping[str, float], example: str, whole: bool = False) -> None:
        self.name = name
        self._scales = {unit.lower(): scale for unit, scale in scales.items()}
        self._example = example
        self._whole = whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The quantity on the type's own scale; numbers (defaults given in code) pass through."""
        if isinstance(value, int | float):
            return value
        match = _QUANTITY.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is not a {self.name}: write it like {self._example}", param, ctx)
        number, unit = float(match[1]), match[2].lower()
        if unit not in self._scales:
            problem = "has no unit" if not unit else f"has an unknown unit {match[2]!r}"
            self.fail(f"{value!r} {problem}: write a {self.name} like {self._example}", param, ctx)
        quantity = number * self._scales[unit]
        if not math.isfinite(quantity) or quantity <= 0:
            self.fail(f"{value!r} is not a positive {self.name}: write it like {self._example}", param, ctx)
        return round(quantity) if self._whole else quantity


DURATION_MS = _Quantity("duration", {"ms": 1.0, "s": 1e3, "us": 1e-3, "µs": 1e-3}, "50ms or 0.05s")
"""Command-line type: ``50ms``, ``0.05s``, ``500us`` -> float milliseconds."""

DURATION_S = _Quantity("duration", {"s": 1.0, "ms": 1e-3, "m": 60.0, "min": 60.0, "h": 3600.0}, "10m or 90s")
"""Command-line type: ``10m``, ``90s``, ``1.5h`` -> float seconds."""

SIZE_BYTES = _Quantity(
    "size",
    {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "25MB or 24MiB",
    whole=True,
)
"""Command-line type: ``25MB`` (10^6), ``24MiB`` (2^20) -> whole bytes."""


class Command(click.Command):
    """A click command whose usage errors are one line as well: ``@click.command(cls=Command)``."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As :meth:`click.Command.main`, with ``error: ...`` and a hint instead of four lines of usage."""
        # Without standalone mode click raises, and returns the exit code of --help and of ctx.exit().
        invoke = partial(super().main, args, prog_name, complete_var, standalone_mode=False, **extra)
        if not standalone_mode:
            return invoke()
        try:
            sys.exit(invoke())
        except click.UsageError as error:
            hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
            _fail(f"{error.format_message()}{hint}", error.exit_code)
        except click.ClickException as error:
            _fail(error.format_message(), error.exit_code)
        except click.Abort:
            _fail("interrupted", INTERRUPTED_EXIT_CODE)


def run_command(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator of a command's callback (below ``@click.command``): errors become one line and an exit code.

    ``PocketBertError`` gives its own exit code; a full disk gives 1; Ctrl-C gives 130, with the text that the
    ``KeyboardInterrupt`` carries, if any (what is kept, how to resume). Anything else is a defect of ours and
    keeps its traceback.
    """

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except PocketBertError as error:
            _fail(str(error), error.exit_code)
        except KeyboardInterrupt as error:
            kept = str(error) or "what was finished is kept; the same command goes on from there"
            _fail(f"interrupted: {kept}", INTERRUPTED_EXIT_CODE)
        except Exception as error:
            if not is_disk_full(error):
                raise
            where = f" while writing {error.filename}" if isinstance(error, OSError) and error.filename else ""
            _fail(f"the disk is full{where}; what was finished is kept, free some space and run it again", 1)

    return wrapper


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, says that a disk or quota is exhausted."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
        return True
    # Writers in native code (safetensors, torch) carry the system's message only as text.
    if "No space left on device" in str(error):
        return True
    return error.__cause__ is not None and is_disk_full(error.__cause__)


def emit_json(document: Mapping[str, Any]) -> None:
    """Writes one JSON object to standard output; values that JSON does not know (NaN too) are a defect."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def console() -> Console:
    """A rich console on standard error, where messages and tables for people go."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _fail(message: str, exit_code: int) -> NoReturn:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(exit_code)
