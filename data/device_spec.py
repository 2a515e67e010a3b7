"""Device specifications: what is known about a device before it is measured, from small TOML files."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError

from data.errors import DataFileError, UnknownNameError
from data.home import home
from data.usable_processors import MOST_THREADS, usable_processors

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

# The usual gate on a phone's battery temperature, °C.
COOL_C = 37.0

# Every table of a device file refuses keys that it does not know.
_STRICT = {"extra": "forbid"}


@dataclass(frozen=True)
class Core:
    """What a core is counted by: the ``model`` of its pipelines (``fusion/cycles/cores.py``), its L1 data cache, and
    what it reads a cycle from its own L2 and from a cache that cores share."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    model: str
    l1_kib: Positive
    l2_bytes_per_cycle: Positive
    l3_bytes_per_cycle: Positive


@dataclass(frozen=True)
class Cluster:
    """Equal cores that share a clock. ``flops_per_cycle`` counts fp32 operations of one core; what else is known of a
    ``core`` serves to simulate it."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: str
    cores: PositiveInt
    clock_ghz: Positive
    flops_per_cycle: Positive
    l2_kib: Positive
    core: Core | None = None

    @property
    def core_gflops(self) -> float:
        """fp32 peak of one core, Gflop/s."""
        return self.clock_ghz * self.flops_per_cycle


@dataclass(frozen=True)
class Memory:
    """Shared caches in KiB (0 where there is none) and the theoretical bandwidth of DRAM in GB/s."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    dram_gbps: Positive
    l3_kib: NotNegative = 0
    system_cache_kib: NotNegative = 0


@dataclass(frozen=True)
class Gpu:
    """A phone's GPU: fp32 peak in Gflop/s, cost of one queued kernel in microseconds.

    Bandwidths are in GB/s: of memory, and through the caches as images and as buffers. An image of one axis has at most
    ``image_texels``.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: str
    clock_mhz: Positive
    fp32_gflops: Positive
    memory_gbps: Positive
    image_gbps: Positive
    buffer_gbps: Positive
    image_texels: PositiveInt
    launch_us: Positive

    @property
    def lanes(self) -> int:
        """fp32 multiply-adds of a clock: the work-items that compute at once."""
        return max(1, round(self.fp32_gflops * 1e3 / (2 * self.clock_mhz)))


@dataclass(frozen=True)
class Analytic:
    """Constants of the analytic model of a device that is not attached.

    ``cpu_efficiency`` is the share that processors reach of their rate by counted cycles, ``gpu_efficiency`` that which
    kernels reach of the GPU's peak and of its bandwidth through the caches, ``bandwidth_efficiency`` the share of the
    theoretical bandwidth of the processor's memory; ``block_us`` is what each block costs before its first tile (waking
    the threads, the barrier), ``model_us`` what each whole run costs; ``noise`` is the relative standard deviation
    between runs. ``activation_gbps`` is the rate in GB/s at which activations pass from one block to the next through
    the caches, ``raw_product`` the share of its speed that a matrix product keeps when it stores its result before
    anything is applied to it, as without fusion; both have a second value for the GPU.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    cpu_efficiency: Share
    bandwidth_efficiency: Share
    block_us: NotNegative
    model_us: NotNegative = 0.0
    noise: NotNegative = 0.01
    gpu_efficiency: Share = 0.4
    activation_gbps: Positive = 5.0
    raw_product: Share = 1.0
    gpu_activation_gbps: Positive = 5.0
    gpu_raw_product: Share = 1.0


@dataclass(frozen=True)
class DeviceSpec:
    """What is known about a device before it is measured.

    ``target`` names the compiler's target (``host`` = detect); on an attached phone it is the least, and the best that
    the phone reports is taken, of one that is not attached the best for the ``features`` that all its processors are
    known to have, by Linux's names. ``threads`` is the default number of CPU threads, or ``all`` for one on every core
    (on this machine: every processor that this process may use). Nothing is measured while the battery is warmer than
    ``hottest_c`` (°C, by default ``COOL_C`` on phones); a session waits ``cooling_limit_s`` seconds in all for it to
    cool. An attached phone is recognised by ``models``, how its ``ro.product.model`` begins, and ``socs``, how the name
    or code name of its chip begins: one model may come with one of several chips.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    title: str
    kind: Literal["host", "android"]
    target: str
    features: tuple[str, ...] = ()
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | Literal["all"] = "all"
    hottest_c: Positive | None = None
    cooling_limit_s: NotNegative = 600.0
    models: tuple[str, ...] = ()
    socs: tuple[str, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    memory: Memory | None = None
    gpu: Gpu | None = None
    analytic: Analytic | None = None
    source: str = field(default="", compare=False)

    @property
    def default_threads(self) -> int:
        """Threads used where the user names none; on this machine no more than can run all the time."""
        most = usable_processors().threads if self.kind == "host" else min(len(self.cores), MOST_THREADS)
        return most if self.threads == "all" else min(self.threads, most)

    @property
    def temperature_limit_c(self) -> float | None:
        """Battery temperature above which nothing is measured, °C; None where there is no limit."""
        return COOL_C if self.hottest_c is None and self.kind == "android" else self.hottest_c

    @property
    def units(self) -> tuple[str, ...]:
        """Units that it may have; whether there is a driver for its GPU is found out by opening it."""
        return ("cpu", "gpu")

    @property
    def simulated_units(self) -> tuple[str, ...]:
        """Units of the analytic model."""
        return ("cpu", "gpu") if self.gpu else ("cpu",)

    @cached_property
    def cores(self) -> tuple[float, ...]:
        """fp32 peak of each core in Gflop/s, fastest first."""
        peaks = [cluster.core_gflops for cluster in self.clusters for _ in range(cluster.cores)]
        return tuple(sorted(peaks, reverse=True))


def _bundled() -> dict[str, Any]:
    folder = resources.files("data").joinpath("devices")
    return {entry.name.removesuffix(".toml"): entry for entry in folder.iterdir() if entry.name.endswith(".toml")}


def known_devices() -> tuple[str, ...]:
    """Names of the bundled device specifications, sorted."""
    return tuple(sorted(_bundled()))


def own_device_path(name: str) -> Path:
    """Where the specification of a phone that described itself is kept."""
    return home() / "devices" / f"{name}.toml"


def own_devices() -> tuple[str, ...]:
    """Names of the phones that have described themselves, sorted."""
    return tuple(sorted(path.stem for path in own_device_path("any").parent.glob("*.toml")))


def load_device(name_or_path: str | Path) -> DeviceSpec:
    """The specification of that name, bundled or of a phone that has described itself, or the one in a TOML file.

    Raises:
        UnknownNameError: neither such a name nor the path of a ``.toml`` file.
        DataFileError: the file cannot be read, is not TOML, or has missing, unknown or impossible values.
    """
    name = str(name_or_path)
    bundled = _bundled()
    if name in bundled:
        return parse_device(bundled[name].read_text(encoding="utf-8"), f"{name}.toml")
    path = own_device_path(name) if name in own_devices() else Path(name)
    if path.suffix != ".toml":
        raise UnknownNameError("device", name, (*known_devices(), *own_devices()))
    try:
        return parse_device(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise DataFileError(path, f"the device file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataFileError(path, "the device file is not UTF-8 text") from error


def parse_device(text: str, place: str | Path) -> DeviceSpec:
    """Validate the text of a device file; ``place`` is named in errors."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataFileError(place, f"not TOML: {error}") from error
    try:
        spec = TypeAdapter(DeviceSpec).validate_python(document)
    except ValidationError as error:
        raise DataFileError(place, _first_problem(error)) from error
    if spec.kind == "android" and not (spec.clusters and spec.memory):
        raise DataFileError(place, "an android device needs [[clusters]] and [memory]")
    return spec


def _first_problem(error: ValidationError) -> str:
    """One line for the first of pydantic's complaints, and how many more there are."""
    problems = error.errors(include_url=False, include_context=False)
    key = ".".join(str(part) for part in problems[0]["loc"]) or "file"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{key}: {problems[0]['msg']}{more}"
