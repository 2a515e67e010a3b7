"""The one exception tree; every error a user can meet descends from it.

PocketBertError            exit 1   anything that failed
├── InputError             exit 2   bad usage or bad input
│   ├── UnknownNameError            unknown device, task, teacher or preset
│   ├── DataFileError               a malformed file, with its path and line
│   ├── UnsupportedOperatorError    an ONNX operator that the compiler does not know
│   └── UnsupportedTokenizerError   a tokenizer with a part that the C tokenizer does not know
├── InfeasibleBudgetError  exit 3   no model of the search space fits the budget
├── DeviceError            exit 4   the device is not available or was lost
│   └── DeviceLostError             the connection broke; it may come back
├── StoreError             exit 1   the measurement store is damaged or cannot be written
├── ToolchainError         exit 1   the C compiler failed
├── EngineUnavailableError exit 1   another runtime, to compare with, is missing or cannot take the model
└── ModelError             exit 2   a graph that breaks the compiler's rules
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class PocketBertError(Exception):
    """Base of all errors; ``exit_code`` is what the command line returns."""

    exit_code = 1


class InputError(PocketBertError):
    """Bad usage or bad input."""

    exit_code = 2


class UnknownNameError(InputError):
    """A name that is not in the list of known ones; the message offers the nearest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        choices = sorted(known)
        near = get_close_matches(name, choices, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Known: {', '.join(choices)}")


class DataFileError(InputError):
    """A file whose content is not what it should be."""

    def __init__(self, path: Path | str, problem: str, line: int | None = None) -> None:
        place = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{place}: {problem}")


class ModelError(InputError):
    """A graph that breaks the compiler's rules."""


class UnsupportedOperatorError(InputError):
    """An operator that the compiler does not know."""


class UnsupportedTokenizerError(InputError):
    """A tokenizer with a part that the C tokenizer does not know; models are exported without it."""

    def __init__(self, directory: Path | str, part: str) -> None:
        super().__init__(f"{directory}: a tokenizer with {part} is not known in C")


class InfeasibleBudgetError(PocketBertError):
    """No model of the search space fits the budget."""

    exit_code = 3


class DeviceError(PocketBertError):
    """The device is not available, or was lost."""

    exit_code = 4


class DeviceLostError(DeviceError):
    """The connection to a device broke: unplugged, restarted, or its adb server gone. It may come back."""


class StoreError(PocketBertError):
    """The measurement store is damaged or cannot be written."""


class ToolchainError(PocketBertError):
    """The C compiler failed."""


class EngineUnavailableError(PocketBertError):
    """Another runtime, to compare with, is missing or cannot take the model; comparisons go on without it."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type's name: how other libraries' errors are told in ours."""
    return (str(error).splitlines() or [type(error).__name__])[0]
