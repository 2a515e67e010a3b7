"""What the four commands share: durations and sizes, errors as one line, JSON on standard output, live progress.

Nothing here imports the heavy libraries, so that ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import sqlite3
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NoReturn

import click

from data.errors import PocketBertError
from data.usable_processors import usable_processors
from search.commands.progress import ProgressPrinter
from search.commands.standard_output import standard_output_kept, write_out

if TYPE_CHECKING:
    from rich.console import Console

    from data.device_spec import DeviceSpec

__all__ = [
    "DEVICE_BUDGET",
    "DURATIONS_MS",
    "DURATION_MS",
    "DURATION_S",
    "SEED",
    "SIZE_BYTES",
    "Command",
    "ProgressPrinter",
    "check_threads",
    "console",
    "emit_json",
    "given_options",
    "run_command",
]

INTERRUPTED_EXIT_CODE = 130  # 128 + SIGINT, as shells report it
# After compatibility composition (NFKC), where the micro sign and the Greek letter are the same.
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-zμ]*)\s*", re.IGNORECASE)
_MICROSECONDS = ("us", "μs", "usec", "usecs", "microsecond", "microseconds")
_MILLISECONDS = ("ms", "msec", "msecs", "millisecond", "milliseconds")
_SECONDS = ("s", "sec", "secs", "second", "seconds")
_MINUTES = ("m", "min", "mins", "minute", "minutes")
_HOURS = ("h", "hr", "hrs", "hour", "hours")


class _Quantity(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """A positive number with one of the given units, turned into the first unit's scale.

    A plain number is refused: 50 what? Zero, negative and non-finite quantities are refused as well, and so is a
    decimal comma, which elsewhere separates thousands. Units are read in any case of letters.
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
        match = _QUANTITY.fullmatch(unicodedata.normalize("NFKC", value))
        if match is None:
            comma = ", with a point for the decimals" if "," in value else ""
            self.fail(f"{value!r} is not a {self.name}: write it like {self._example}{comma}", param, ctx)
        number, unit = float(match[1]), match[2].lower()
        if unit not in self._scales:
            problem = "has no unit" if not unit else f"has an unknown unit {match[2]!r}"
            self.fail(f"{value!r} {problem}: write a {self.name} like {self._example}", param, ctx)
        quantity = number * self._scales[unit]
        if not math.isfinite(quantity) or quantity <= 0 or (self._whole and round(quantity) == 0):
            self.fail(f"{value!r} is not a positive {self.name}: write it like {self._example}", param, ctx)
        return round(quantity) if self._whole else quantity


def _scales(*spellings: tuple[Iterable[str], float]) -> dict[str, float]:
    """The scale of each spelling of some units."""
    return {unit: scale for units, scale in spellings for unit in units}


_FILE_COLUMNS = 120
DURATION_MS = _Quantity(
    "duration", _scales((_MILLISECONDS, 1.0), (_SECONDS, 1e3), (_MICROSECONDS, 1e-3)), "50ms or 0.05s"
)
"""Command-line type: ``50ms``, ``0.05s``, ``500us`` -> float milliseconds."""


class _Durations(click.ParamType):  # type: ignore[type-arg]
    """Several durations with commas between them."""

    name = "durations"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """All of them in milliseconds; numbers given in code pass through."""
        if not isinstance(value, str):
            return tuple(value)
        return tuple(DURATION_MS.convert(part, param, ctx) for part in value.split(","))


DURATIONS_MS = _Durations()
"""Command-line type: ``4ms,8ms,0.012s`` -> float milliseconds of each."""


class _DeviceBudget(click.ParamType):  # type: ignore[type-arg]
    """A device and a duration with a colon between them; the device may be a path that holds colons itself."""

    name = "device:budget"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """The device as it is written, and its budget in milliseconds; a pair given in code passes through."""
        if not isinstance(value, str):
            return tuple(value)
        device, colon, budget = (part.strip() for part in value.rpartition(":"))
        if not (colon and device and budget):
            self.fail(f"{value!r} is not a device with its budget: write it like {_DEVICE_BUDGET_EXAMPLE}", param, ctx)
        if "," in budget or _SECOND_BUDGET.search(value):
            self.fail(f"{value!r} names more than one budget: give --also once for each device", param, ctx)
        return device, DURATION_MS.convert(budget, param, ctx)


_DEVICE_BUDGET_EXAMPLE = "s10:70ms"
# A comma after a colon, as in s10:70ms,mali:60ms.
_SECOND_BUDGET = re.compile(r":[^/:]*,")
DEVICE_BUDGET = _DeviceBudget()
"""Command-line type: ``s10:70ms`` -> the device's name, float milliseconds."""

DURATION_S = _Quantity(
    "duration", _scales((_SECONDS, 1.0), (_MILLISECONDS, 1e-3), (_MINUTES, 60.0), (_HOURS, 3600.0)), "10m or 90s"
)
"""Command-line type: ``10m``, ``90s``, ``1.5h`` -> float seconds."""

SIZE_BYTES = _Quantity(
    "size",
    {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "25MB or 24MiB",
    whole=True,
)
"""Command-line type: ``25MB`` (10^6), ``24MiB`` (2^20) -> whole bytes."""

SEED = click.IntRange(min=0, max=2**31 - 1)
"""Command-line type: a seed that NumPy, scikit-learn and torch all take, also with a small number added."""


class Command(click.Command):
    """A click command whose usage errors are one line as well: ``@click.command(cls=Command)``.

    What click would pass over is a usage error: an option given twice (click takes the last), an empty value, and a
    value that is itself an option of the command, as in ``--out --resume``.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As :meth:`click.Command.parse_args`, after looking at what was written."""
        if args and not ctx.resilient_parsing:
            values, _, order = self.make_parser(ctx).parse_args(list(args))
            self._refuse_repeated(ctx, order)
            self._refuse_mistaken(ctx, values)
        return super().parse_args(ctx, args)

    def _refuse_repeated(self, ctx: click.Context, order: Sequence[click.Parameter]) -> None:
        single = [each for each in order if isinstance(each, click.Option) and not (each.multiple or each.is_flag)]
        for option, count in Counter(single).items():
            if count > 1:
                raise click.UsageError(f"{option.opts[0]} is given {count} times: it takes one value at a time", ctx)

    def _refuse_mistaken(self, ctx: click.Context, values: Mapping[str, Any]) -> None:
        known = {name for each in self.get_params(ctx) if isinstance(each, click.Option) for name in each.opts}
        for parameter in self.get_params(ctx):
            given = values.get(parameter.name or "")
            name = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.make_metavar(ctx)
            for value in given if isinstance(given, list | tuple) else [given]:
                if isinstance(value, str) and not value.strip():
                    raise click.UsageError(f"{name} is empty", ctx)
                if isinstance(value, str) and value.partition("=")[0] in known:
                    raise click.UsageError(f"{name} needs a value: {value} follows, which is another option", ctx)

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
    keeps its traceback. Standard output is kept for :func:`emit_json`.
    """

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        hold_libraries(os.environ)
        try:
            with standard_output_kept():
                function(*args, **kwargs)
        except PocketBertError as error:
            _fail(str(error), error.exit_code)
        except KeyboardInterrupt as error:
            kept = str(error) or "what was finished is kept; the same command goes on from there"
            _fail(f"interrupted: {kept}", INTERRUPTED_EXIT_CODE)
        except _write_errors() as error:
            if not is_disk_full(error):
                raise
            where = f" while writing {error.filename}" if isinstance(error, OSError) and error.filename else ""
            _fail(f"the disk is full{where}; what was finished is kept, free some space and run it again", 1)

    return wrapper


def hold_libraries(environment: MutableMapping[str, str]) -> None:
    """Has numerical libraries that are loaded later (torch, scikit-learn) heed a CPU quota, unless the user says else.

    They count processors only. Of 64 threads under a quota of 2, most wait in a loop that uses the quota up.
    """
    usable = usable_processors()
    if usable.count < usable.allowed:
        environment.setdefault("OMP_NUM_THREADS", str(usable.count))


def _write_errors() -> tuple[type[Exception], ...]:
    """What is raised where a file cannot be written, by Python, SQLite, torch and safetensors.

    It is looked up when something was raised: ``--help`` needs no safetensors.
    """
    from safetensors import SafetensorError

    return OSError, sqlite3.Error, RuntimeError, SafetensorError


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


def given_options(*, but: Iterable[str] = ()) -> list[str]:
    """The options that the command line of the running command names, such as ``--seed``, except those in ``but``."""
    context = click.get_current_context()
    written = [
        parameter.opts[0]
        for parameter in context.command.params
        if context.get_parameter_source(parameter.name or "") == click.core.ParameterSource.COMMANDLINE
    ]
    return [name for name in written if name not in but]


def check_threads(spec: DeviceSpec, threads: int | None, unit: str = "cpu") -> int:
    """The number of threads to use, with a line on standard error where it is not the one to expect.

    Raises:
        InputError: more threads than cores, or than compiled models take; or some for a GPU.
    """
    from data.errors import InputError
    from search.profiles.threads import choose_threads

    if threads is not None and unit == "gpu":
        raise InputError("--threads is for --unit cpu: a GPU's driver has its own")
    chosen = choose_threads(spec, threads, f"--threads {threads}")
    if chosen.note:
        click.echo(chosen.note, err=True)
    return chosen.count


def check_precision(precision: str, units: Sequence[str], space: str | None = None) -> None:
    """Refuses products in int8 on a GPU, whose kernels have none; ``space`` is the file that names them, if one does.

    Raises:
        InputError: they are asked for.
    """
    from data.errors import InputError

    if precision != "fp32" and "gpu" in units:
        named = f"{space}: precision int8" if space else f"--precision {precision}"
        raise InputError(f"{named} is for --unit cpu: kernels for GPUs have no products in int8")


def emit_json(document: Mapping[str, Any]) -> None:
    """Writes one JSON object to standard output; values that JSON does not know (NaN too) are a defect."""
    write_out(json.dumps(document, indent=2, allow_nan=False))


def console() -> Console:
    """A rich console on standard error, where messages and tables for people go."""
    from rich.console import Console

    # In a file nothing is cut to the 80 columns that are taken for a terminal's where there is none.
    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _FILE_COLUMNS)


def _fail(message: str, exit_code: int) -> NoReturn:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(exit_code)
