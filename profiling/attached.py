"""Any attached phone as a specification: described by itself, and written to a TOML file for reuse."""

from __future__ import annotations

import re
from pathlib import Path

from data.device_file import write_device
from data.device_spec import Cluster, DeviceSpec, Memory, own_device_path
from data.processor import processors, shared_flags
from profiling.phone_choice import choose
from profiling.phone_identity import chip_of, model_of, refuse_unfit
from profiling.phone_link import PhoneLink
from profiling.phone_readings import CPUFREQ, properties

_ARM = 0x41
# fp32 operations a cycle by Arm's part numbers (Arm's technical reference manuals): cores with one 128-bit FMA pipe
# or two of 64 bits. All later and bigger ones have at least two of 128 bits; wider ones are underestimated.
_NARROW_PARTS = frozenset((0xD03, 0xD04, 0xD05, 0xD08, 0xD09, 0xD46, 0xD80))
_NARROW_FLOPS, _WIDE_FLOPS = 8.0, 16.0
# What is assumed where the phone hides it: it enters no measurement, and the analytic model is not made from it.
_ASSUMED_L2_KIB, _ASSUMED_GHZ, _ASSUMED_DRAM_GBPS = 128.0, 1.0, 17.1
# What every 64-bit phone runs.
_LEAST_TARGET = "aarch64-neon"
# Prints `path:content` of small files; the last one is for kernels without cpufreq.
_FACTS = (
    f"grep -H . {CPUFREQ}/policy*/related_cpus {CPUFREQ}/policy*/cpuinfo_max_freq "
    "/sys/devices/system/cpu/cpu*/cache/index2/size"
)


def describe_attached(serial: str | None = None) -> tuple[DeviceSpec, Path]:
    """The specification of an attached phone, made of getprop, cpuinfo and cpufreq, and the file it was written to.

    Raises:
        DeviceError: no adb, no phone, several and no serial, or one that is not ready or not 64-bit.
        StoreError: the file cannot be written.
    """
    link = PhoneLink(choose(serial, "an attached phone"), "the attached phone")
    known = properties(link.shell(["getprop"]))
    refuse_unfit(known, link.serial)
    spec = specification(known, link.script("cat /proc/cpuinfo", "cpuinfo"), link.script(_FACTS, "cpufreq"))
    path = own_device_path(spec.name)
    write_device(spec, path, f"{spec.title}, as the phone {link.serial} described itself.", _assumptions(spec))
    return spec, path


def specification(known: dict[str, str], cpuinfo: str, facts: str) -> DeviceSpec:
    """A specification from a phone's properties, ``/proc/cpuinfo`` and ``path:content`` lines of sysfs."""
    from fusion import best_target, target_named

    model, chip = model_of(known), chip_of(known)
    clusters = _clusters(cpuinfo, facts)
    return DeviceSpec(
        name=_name(model),
        title=f"{model or 'a phone'} ({chip})" if chip else model or "a phone",
        kind="android",
        target=best_target(target_named(_LEAST_TARGET), shared_flags(cpuinfo)).name,
        threads=sum(cluster.cores for cluster in clusters),
        models=(model,) if model else (),
        socs=(chip,) if chip else (),
        clusters=clusters,
        memory=Memory(dram_gbps=_ASSUMED_DRAM_GBPS),
    )


def _clusters(cpuinfo: str, facts: str) -> tuple[Cluster, ...]:
    """Clusters by cpufreq's policies, fastest first; one of unknown clock where the kernel hides them."""
    parts = {processor.number: processor.part for processor in processors(cpuinfo)}
    contents = dict(line.split(":", 1) for line in facts.splitlines() if ":" in line)
    policies = {
        path.split("/")[-2]: [int(word) for word in content.split() if word.isdecimal()]
        for path, content in contents.items()
        if path.endswith("/related_cpus")
    }
    policies = {name: cpus for name, cpus in policies.items() if cpus} or {"cpus": list(parts) or [0]}
    found = []
    for name, cpus in policies.items():
        kilohertz = _content(contents, f"{name}/cpuinfo_max_freq")
        l2 = _content(contents, f"/cpu{cpus[0]}/cache/index2/size").removesuffix("K")
        found.append(
            Cluster(
                name=name,
                cores=len(cpus),
                clock_ghz=int(kilohertz) / 1e6 if kilohertz.isdecimal() else _ASSUMED_GHZ,
                flops_per_cycle=_flops(parts.get(cpus[0])),
                l2_kib=float(l2) if l2.isdecimal() and int(l2) else _ASSUMED_L2_KIB,
            )
        )
    return tuple(sorted(found, key=lambda cluster: (-cluster.core_gflops, cluster.name)))


def _content(contents: dict[str, str], ending: str) -> str:
    return next((content.strip() for path, content in contents.items() if path.endswith(ending)), "")


def _flops(part: tuple[int, int] | None) -> float:
    """fp32 operations a cycle of a core, by implementer and part; unknown ones count as narrow."""
    if part is None or (part[0] == _ARM and part[1] in _NARROW_PARTS):
        return _NARROW_FLOPS
    return _WIDE_FLOPS


def _name(model: str) -> str:
    """A device name made of the model's: letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-") or "phone"


def _assumptions(spec: DeviceSpec) -> str:
    return (
        f"The phone does not tell its memory's bandwidth: {_ASSUMED_DRAM_GBPS} GB/s is assumed (LPDDR4X-2133, 32 bit). "
        "It enters no measurement. Caches and clocks that it hides are assumed as well: "
        f"{_ASSUMED_L2_KIB:g} KiB, {_ASSUMED_GHZ:g} GHz."
    )
