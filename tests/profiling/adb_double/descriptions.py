"""What phones say about themselves: properties, processors, clocks, heat and battery, written as files and commands."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Cluster:
    """Processors that share a clock: the first one's number, how many, clocks in kHz, and Arm's part number."""

    first: int
    cores: int
    clocks_khz: tuple[int, ...]
    part: str
    l2_kib: int


@dataclass
class Description:
    """A phone. ``temperature_tenths`` is the battery's, as ``dumpsys battery`` gives it; ``thermal`` is whether there
    is a thermalservice (Android 10 and later); ``clock_share`` the share of the highest clock that it runs at;
    ``features`` the instruction sets that the kernel tells of."""

    model: str
    soc: str
    abis64: str
    clusters: tuple[Cluster, ...]
    release: str = "13"
    temperature_tenths: int = 312
    thermal: bool = True
    clock_share: float = 1.0
    time_in_state: bool = True
    properties: dict[str, str] = field(default_factory=dict)
    features: str = ""


LITTLE = (576000, 1209600, 1804800)


def s20(release: str = "13") -> Description:
    """Galaxy S20, international 5G."""
    big, prime = (710400, 1209600, 2419200), (844800, 1420800, 2841600)
    clusters = (
        Cluster(0, 4, LITTLE, "0xd05", 128),
        Cluster(4, 3, big, "0xd0d", 256),
        Cluster(7, 1, prime, "0xd0d", 512),
    )
    return Description("SM-G981B", "SM8250", "arm64-v8a", clusters, release)


def s10() -> Description:
    """Galaxy S10 with Android 9: no thermalservice, no ro.soc.model, time_in_state hidden."""
    big, prime = (710400, 1209600, 2419200), (825600, 1401600, 2841600)
    clusters = (
        Cluster(0, 4, LITTLE, "0xd05", 128),
        Cluster(4, 3, big, "0xd0b", 256),
        Cluster(7, 1, prime, "0xd0b", 512),
    )
    return Description("SM-G973F", "", "arm64-v8a", clusters, "9", thermal=False, time_in_state=False)


def mali() -> Description:
    """Honor Magic 2."""
    clusters = (
        Cluster(0, 4, LITTLE, "0xd05", 128),
        Cluster(4, 2, (826000, 1364000, 1920000), "0xd40", 512),
        Cluster(6, 2, (1460000, 2112000, 2600000), "0xd40", 512),
    )
    return Description("TNY-AL00", "", "arm64-v8a", clusters, properties={"ro.board.platform": "kirin980"})


def unknown() -> Description:
    """A 64-bit phone that nobody has described."""
    clusters = (Cluster(0, 6, (500000, 2000000), "0xd05", 64), Cluster(6, 2, (725000, 2200000), "0xd41", 256))
    return Description('Pocket "7" $(touch x)', "MT6833", "arm64-v8a", clusters)


def old() -> Description:
    """A 32-bit phone."""
    return Description("GT-I9505", "", "", (Cluster(0, 4, (384000, 1890000), "0x06f", 0),), "9", thermal=False)


def ancient() -> Description:
    """A 64-bit phone with Android 6, whose adb tells no exit status."""
    return Description(
        "SM-G920F", "", "arm64-v8a", (Cluster(0, 8, (400000, 1500000), "0xd03", 0),), "6.0.1", thermal=False
    )


def write(description: Description, root: Path) -> None:
    """The phone's files and commands under ``root``."""
    (root / "data/local/tmp").mkdir(parents=True)
    _write_files(description, root)
    _write_commands(root / "bin", sum(cluster.cores for cluster in description.clusters))
    refresh(description, root)


def refresh(description: Description, root: Path) -> None:
    """What dumpsys and getprop answer now."""
    answers = root / "answers"
    answers.mkdir(exist_ok=True)
    properties = {
        "ro.product.model": description.model,
        "ro.product.manufacturer": "Double",
        "ro.soc.model": description.soc,
        "ro.board.platform": "double",
        "ro.build.version.release": description.release,
        "ro.build.fingerprint": f"double/{description.soc}/1:{description.release}/keys",
        "ro.product.cpu.abilist64": description.abis64,
        **description.properties,
    }
    (answers / "getprop").write_text("".join(f"[{name}]: [{value}]\n" for name, value in properties.items()))
    tenths = description.temperature_tenths
    (answers / "battery").write_text(f"Current Battery Service state:\n  level: 71\n  temperature: {tenths}\n")
    degrees = tenths / 10
    (answers / "thermalservice").write_text(
        "Thermal Status: 0\nCached temperatures:\n"
        "\tTemperature{mValue=20.0, mType=2, mName=BATTERY, mStatus=0}\n"
        "Current temperatures from HAL:\n"
        f"\tTemperature{{mValue={degrees + 15}, mType=0, mName=CPU0, mStatus=0}}\n"
        f"\tTemperature{{mValue={degrees}, mType=2, mName=BATTERY, mStatus=0}}\n"
        if description.thermal
        else "Can't find service: thermalservice\n"
    )


def _write_files(description: Description, root: Path) -> None:
    cpus = root / "sys/devices/system/cpu"
    sections = []
    for cluster in description.clusters:
        numbers = range(cluster.first, cluster.first + cluster.cores)
        policy = cpus / f"cpufreq/policy{cluster.first}"
        policy.mkdir(parents=True)
        (policy / "related_cpus").write_text(" ".join(map(str, numbers)) + "\n")
        (policy / "cpuinfo_max_freq").write_text(f"{max(cluster.clocks_khz)}\n")
        if description.time_in_state:
            (policy / "stats").mkdir()
        for number in numbers:
            cache = cpus / f"cpu{number}/cache/index2"
            cache.mkdir(parents=True)
            (cache / "size").write_text(f"{cluster.l2_kib}K\n")
            told = f"Features\t: {description.features}\n" if description.features else ""
            sections.append(f"processor\t: {number}\n{told}CPU implementer\t: 0x41\nCPU part\t: {cluster.part}\n")
    spend(description, root, 1.0)
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text("\n".join(sections) + "\nHardware\t: Double\n")


def spend(description: Description, root: Path, seconds: float) -> None:
    """Let time pass at the present clock: time_in_state counts it in hundredths of a second."""
    for cluster in description.clusters:
        policy = root / f"sys/devices/system/cpu/cpufreq/policy{cluster.first}"
        aim = max(cluster.clocks_khz) * description.clock_share
        nearest = min(cluster.clocks_khz, key=lambda clock: abs(clock - aim))
        (policy / "scaling_cur_freq").write_text(f"{nearest}\n")
        path = policy / "stats/time_in_state"
        if not path.parent.is_dir():
            continue
        spent = dict.fromkeys(cluster.clocks_khz, 0)
        if path.exists():
            spent = {int(line.split()[0]): int(line.split()[1]) for line in path.read_text().splitlines()}
        spent[nearest] += max(1, round(seconds * 100))
        path.write_text("".join(f"{clock} {count}\n" for clock, count in spent.items()))


def _write_commands(folder: Path, cores: int) -> None:
    """Commands that a phone has and this machine has not, or that answer as the phone does."""
    folder.mkdir()
    answers = '"$(dirname "$0")/../answers'
    scripts = {
        "getprop": f'if [ $# = 0 ]; then cat {answers}/getprop"; else sed -n "s/^\\[$1\\]: \\[\\(.*\\)\\]$/\\1/p" '
        f'{answers}/getprop"; fi',
        "dumpsys": f'cat {answers}/$1"',
        "nproc": f"echo {cores}",
        # Options as `timeout -k SECONDS LIMIT COMMAND...`, the form that toybox knows as well.
        "timeout": f'k=$2; n=$3; shift 3; exec {shutil.which("timeout")} -k "$k" "$n" "$(dirname "$0")/run" "$@"',
        "run": _RUN.format(taskset=shutil.which("taskset"), qemu=shutil.which("qemu-aarch64-static")),
    }
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)


# Runs a command; one for aarch64 under qemu, as a phone's own processor would.
_RUN = """\
if [ "$1" = env ]; then export "$2"; shift 2; exec "$0" "$@"; fi
if [ "$1" = taskset ]; then mask=$2; shift 2; exec {taskset} "$mask" "$0" "$@"; fi
case "$1" in
*/*) if [ "$(od -An -tx1 -j18 -N1 "$1" 2>&1)" = " b7" ]; then exec {qemu} "$@"; fi ;;
esac
exec "$@\""""
