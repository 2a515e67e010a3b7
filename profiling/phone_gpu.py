"""A phone's GPU: what its driver says of it, through a runner that was brought there, and where kernels are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.errors import DeviceError
from profiling.phone_link import PhoneLink
from profiling.phone_start import CANNOT_EXECUTE, make_executable, start_advice

if TYPE_CHECKING:
    from fusion import Machine, Runner

# Seconds: a driver that is loaded for the first time may take a few.
_ASK_S = 60.0


def describing_runner() -> Runner:
    """A runner for phones that has no programs, to ask the driver with."""
    from fusion.build.machine import describing_executable
    from fusion.build.runner import runner_of

    return runner_of(describing_executable(), "", ())


def ask_gpu(link: PhoneLink, path: str) -> Machine:
    """The GPU of a phone, as the runner at ``path`` there describes it.

    Raises:
        DeviceLostError: the phone went away.
        DeviceError: there is no driver that adb's programs may load, or it has no device; the message is the runner's.
    """
    from fusion.build.machine import described_gpu

    done = link.run([path, "--describe"], _ASK_S, name="asking the GPU")
    if done.status == CANNOT_EXECUTE:
        make_executable(link, path)
        done = link.run([path, "--describe"], _ASK_S, name="asking the GPU")
    if done.status:
        said = done.stderr.strip().removeprefix("error: ")
        reason = said if done.status == 2 and said else f"the runner {done.reason}"
        raise DeviceError(f"{link.title}: its GPU cannot be used: {reason}{start_advice(link, path, done)}")
    return described_gpu(done.stdout, android=True)


def kernels_setting(folder: str) -> list[str]:
    """The words before a runner's command that have it keep kernels' binaries in a folder of the session's."""
    from fusion.build.runner import KERNELS_VARIABLE

    return ["env", f"{KERNELS_VARIABLE}={folder}/kernels"]
