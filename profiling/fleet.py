"""Several phones of one model as one device: they share the work of a session, and lose one without losing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from data.device_spec import DeviceSpec
from data.errors import DeviceError
from data.measurement import Provenance
from data.progress import Progress, no_progress
from profiling.device import Device, DeviceDescription, DeviceState, RawSamples, Round

if TYPE_CHECKING:
    from fusion import Machine, Runner, Target


class Fleet:
    """Phones whose fingerprints are equal, so that their timings may be merged.

    What takes the fleet for one device gets the first phone that is still there; sessions share their work among
    ``members``.

    Raises:
        DeviceError: the phones differ.
    """

    def __init__(self, members: Sequence[Device]) -> None:
        descriptions = [member.describe() for member in members]
        if len({description.fingerprint for description in descriptions}) != 1:
            told = ", ".join(
                f"{description.details.get('serial', '?')} is a {description.processor}, "
                f"{description.details.get('ro.build.fingerprint', 'unknown build')}"
                for description in descriptions
            )
            raise DeviceError(f"phones that share the work must be of one model and build: {told}; profile them apart")
        self._members = list(members)
        self._description = replace(
            descriptions[0],
            details={
                **descriptions[0].details,
                "serial": ", ".join(description.details.get("serial", "") for description in descriptions),
            },
        )

    @property
    def members(self) -> tuple[Device, ...]:
        """The phones that are still there."""
        return tuple(self._members)

    def lose(self, member: Device) -> None:
        """Give no more work to a phone; the last one stays, so that its error is the fleet's."""
        if len(self._members) > 1:
            self._members = [each for each in self._members if each is not member]
            member.close()

    @property
    def spec(self) -> DeviceSpec:
        return self._members[0].spec

    @property
    def unit(self) -> str:
        return self._members[0].unit

    @property
    def provenance(self) -> Provenance:
        return self._members[0].provenance

    @property
    def needs_runner(self) -> bool:
        return self._members[0].needs_runner

    @property
    def target(self) -> Target:
        return self._members[0].target

    @property
    def machine(self) -> Machine:
        return self._members[0].machine

    def describe(self) -> DeviceDescription:
        return self._description

    def prepare(self, runner: Runner, progress: Progress = no_progress) -> None:
        self._members[0].prepare(runner, progress)

    def go_round(self, work: Round) -> tuple[RawSamples, ...]:
        return self._members[0].go_round(work)

    def state(self) -> DeviceState:
        return self._members[0].state()

    def close(self) -> None:
        for member in self._members:
            member.close()
