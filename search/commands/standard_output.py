"""Standard output is for a command's one JSON object: nothing that a library prints reaches it, in C or C++ either."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

import click

_KEY = "pocketbert.standard_output"


@contextmanager
def standard_output_kept() -> Iterator[None]:
    """While it lasts, standard output leads nowhere, but for what :func:`write_out` writes."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, os.fdopen(kept, "w", encoding="utf-8") as real:
        # Tests put a stream of their own in the place of standard output: then that one is what the object goes to.
        click.get_current_context().meta[_KEY] = real if sys.stdout is sys.__stdout__ else sys.stdout
        os.dup2(nowhere.fileno(), 1)
        try:
            with redirect_stdout(nowhere):
                yield
        finally:
            ctypes.CDLL(None).fflush(None)  # what C keeps back would come out after the object
            os.dup2(kept, 1)


def write_out(text: str) -> None:
    """Writes to the standard output of the running command."""
    stream: TextIO = click.get_current_context().meta[_KEY]
    click.echo(text, file=stream)
