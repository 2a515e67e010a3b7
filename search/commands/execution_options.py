"""The options of `search` that say where trials run."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from search.execution.executor import Executor

_OPTIONS = (
    click.option(
        "--executor",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Runs trials here one after another, or on the workers of a Ray cluster (pip install 'pocketbert[ray]').",
    ),
    click.option(
        "--ray-address",
        metavar="ADDRESS",
        help="A Ray cluster that runs already, such as auto or 10.0.0.1:6379.  [default: one is started here]",
    ),
    click.option(
        "--trial-cores",
        type=click.IntRange(min=1),
        help="Cores of each trial on Ray; as many run at once as the cluster has room for.  [default: as many as this "
        "machine has]",
    ),
)


@dataclass(frozen=True)
class Execution:
    """What the options say."""

    executor: Literal["local", "ray"]
    ray_address: str | None
    trial_cores: int | None

    @property
    def arguments(self) -> str:
        """The same options on a command line, with a space before them; nothing where trials run here."""
        given = {"--ray-address": self.ray_address, "--trial-cores": self.trial_cores}
        words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
        return "" if self.executor == "local" else f" {shlex.join(['--executor', self.executor, *words])}"

    def check(self) -> None:
        """Refuses options that do not go together, and what is not there.

        Raises:
            InputError: with the option named.
        """
        from data.errors import InputError
        from search.execution.on_ray import check_ray

        if self.executor == "ray":
            check_ray(self.ray_address, self.trial_cores)
            return
        for option, value in (("--ray-address", self.ray_address), ("--trial-cores", self.trial_cores)):
            if value is not None:
                raise InputError(f"{option} {value} belongs to --executor ray, which is missing")

    @contextmanager
    def open(self, note: Callable[[str], None]) -> Iterator[Executor]:
        """The executor, ready; ``note`` is told what the user should know.

        Raises:
            InputError: there is no cluster at the address.
        """
        from search.execution.executor import LocalExecutor
        from search.execution.on_ray import ray_executor

        if self.executor == "local":
            yield LocalExecutor()
            return
        with ray_executor(self.ray_address, self.trial_cores, note) as executor:
            yield executor


def execution_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator of a command's callback: these options arrive as one ``execution``."""

    @wraps(command)
    def with_execution(
        executor: Literal["local", "ray"], ray_address: str | None, trial_cores: int | None, **others: Any
    ) -> None:
        command(execution=Execution(executor, ray_address, trial_cores), **others)

    for option in reversed(_OPTIONS):
        with_execution = option(with_execution)
    return with_execution
