"""The wheel, built from the checkout and installed elsewhere, is complete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support import COMMANDS, ROOT, Completed, run_in

# A whole build, and a few commands on top of it.
pytestmark = pytest.mark.timeout(300)


def tracked_files() -> list[str]:
    """The files of the checkout, as git knows them; where there is no git, all that lie there."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    rooms = ("data", "fusion", "profiling", "surrogate", "search")
    return [str(path.relative_to(ROOT)) for room in rooms for path in (ROOT / room).rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that no build folder is left in the checkout."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked_files():
        copy = source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist), str(source)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (built,) = dist.glob("pocketbert-*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of a new environment with the wheel, which borrows this environment's other packages."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    (site,) = (folder / "lib").glob("python*/site-packages")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, text=True)
    (site / "borrowed.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    return folder / "bin"


@dataclass(frozen=True)
class Setting:
    """Where commands run: what starts them, what their environment says more, and the threads that they then take."""

    threads: int = 0
    launcher: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    told: str = ""


def run_installed(
    installed: Path, folder: Path, name: str, *arguments: str | Path, setting: Setting = Setting()
) -> Completed:
    env = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    argv = [*setting.launcher, str(installed / name), *map(str, arguments)]
    return run_in(folder, argv, env | {"POCKETBERT_HOME": str(folder / "home"), **setting.environment}, timeout=240)


def test_the_wheel_holds_every_file_of_the_rooms(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    rooms = ("data/", "fusion/", "profiling/", "surrogate/", "search/")
    assert {name for name in tracked_files() if name.startswith(rooms)} <= packed
    assert {"data/devices/host.toml", "data/devices/s20.toml"} <= packed
    assert any(name.startswith("fusion/runtime/") and name.endswith(".c") for name in packed)
    assert any(name.startswith("search/reports/templates/") for name in packed)
    assert not [name for name in packed if name.startswith(("tests/", "docs/", "scripts/"))]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_installed(name: str, installed: Path, tmp_path: Path) -> None:
    shown = run_installed(installed, tmp_path, name, "--help")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"Usage: {name} ")


def test_the_device_files_travel(installed: Path, tmp_path: Path) -> None:
    listed = run_installed(installed, tmp_path, "profile-device", "--list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert {device["name"] for device in json.loads(listed.stdout)["devices"]} >= {"host", "s20", "s10", "mali"}


def test_the_runtime_travels(installed: Path, tmp_path: Path) -> None:
    place = run_installed(installed, tmp_path, "python", "-c", "import fusion; print(fusion.__file__)")
    assert place.stdout.startswith(str(installed.parent)), "the installed wheel is tested, not the checkout"
    fused = run_installed(installed, tmp_path, "fuse-model", "distilbert", "--seq-len", "16", "--bench", "--json")
    assert fused.returncode == 0, fused.stderr
    assert json.loads(fused.stdout)


# What fakes processors is loaded before a command, in each of its Python processes.
FAKED_PROCESSORS = "import os\nos.sched_getaffinity = lambda process: set(range({processors}))\n"
FAKED_QUOTA = """
from pathlib import Path
from data import usable_processors as module
real = module.usable_processors
module.usable_processors = lambda: real(Path("{folder}"), Path("{folder}"))
"""
AFTER_HELD_TO_ONE = """
import os, sys
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
os.execv(sys.argv[1], sys.argv[1:])
"""
AFTER_JOINING = """
import os, sys
with open(sys.argv[1], "w") as group:
    group.write(str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny ONNX file, and a state home that the settings share: nothing is compiled twice."""
    from fusion.checkpoints.onnx_export import checkpoint_to_onnx
    from tests.fusion.models import tiny_checkpoint

    folder = tmp_path_factory.mktemp("workplace")
    checkpoint_to_onnx(tiny_checkpoint(folder / "tiny"), folder / "tiny.onnx", 8)
    return folder


def faked(folder: Path, processors: int, quota: str | None = None) -> dict[str, str]:
    """The environment in which Python finds so many processors, and a control group with this ``cpu.max``."""
    code = FAKED_PROCESSORS.format(processors=processors)
    if quota is not None:
        (folder / "cgroup").write_text("0::/\n")
        (folder / "mountinfo").write_text("31 23 0:27 / /group rw - cgroup2 cgroup2 rw\n")
        (folder / "group").mkdir()
        (folder / "group" / "cpu.max").write_text(f"{quota}\n")
        code += FAKED_QUOTA.format(folder=folder)
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(params=["affinity of one", "96 processors", "a quota of 2 on 64 processors"])
def setting(request: pytest.FixtureRequest, tmp_path: Path) -> Setting:
    if request.param == "affinity of one":
        return Setting(1, (sys.executable, "-c", AFTER_HELD_TO_ONE))
    if request.param == "96 processors":
        return Setting(64, environment=faked(tmp_path, 96), told="64 threads, the most that a compiled model takes: ")
    told = "2 threads: a CPU quota gives this process the time of 2 of 64 processors"
    return Setting(2, environment=faked(tmp_path, 64, "200000 100000"), told=told)


def test_each_command_works_with_the_processors_it_may_use(installed: Path, workplace: Path, setting: Setting) -> None:
    def run(name: str, *arguments: str, code: int = 0) -> Completed:
        done = run_installed(installed, workplace, name, *arguments, setting=setting)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        return done

    fused = run("fuse-model", "tiny.onnx", "--seq-len", "8", "--bench", "--rounds", "1", "--json")
    assert json.loads(fused.stdout)["summary"]["threads"] == setting.threads
    assert setting.told in fused.stderr and ("a CPU quota" in fused.stderr) == ("quota" in setting.told)

    listed = json.loads(run("profile-device", "--list", "--json").stdout)["devices"]
    assert {device["name"]: device["threads"] for device in listed}["host"] == setting.threads
    run("profile-device", "--device", "s20", "--simulated", "--blocks", "40", "--seq-len", "16", "--time-limit", "60s")
    run("portability-study", "--devices", "s20,s10", "--models", "12", "--samples", "0")

    # A search of this machine begins with its threads and ends here before it measures.
    searched = run("search", "--device", "host", "--budget", "8ms", "--teacher", "nowhere", code=2)
    assert setting.told in searched.stderr and "unknown teacher" in searched.stderr


@pytest.fixture
def group_of_one() -> Iterator[Path]:
    """A real control group with a quota of one processor, where this machine lets the test make one."""
    quotas = {"/sys/fs/cgroup/cpu": ("cpu.cfs_quota_us", "100000"), "/sys/fs/cgroup": ("cpu.max", "100000 100000")}
    for parent, (name, quota) in quotas.items():
        group = Path(parent) / f"pocketbert-test-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
        if not group.is_dir():
            continue
        try:
            if os.access(group / name, os.W_OK):
                (group / name).write_text(quota)
                yield group
                return
        finally:
            group.rmdir()
    pytest.skip("no control group with a CPU quota can be made here")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a quota of one processor takes nothing from one")
def test_a_real_quota_is_kept(installed: Path, workplace: Path, group_of_one: Path) -> None:
    joining = (sys.executable, "-c", AFTER_JOINING, str(group_of_one / "cgroup.procs"))
    arguments = ("tiny.onnx", "--seq-len", "8", "--bench", "--rounds", "1", "--json")
    fused = run_installed(installed, workplace, "fuse-model", *arguments, setting=Setting(launcher=joining))
    assert fused.returncode == 0, fused.stderr
    assert json.loads(fused.stdout)["summary"]["threads"] == 1
    assert fused.stderr.startswith("1 thread: a CPU quota gives this process the time of 1 of ")

    asked = run_installed(
        installed,
        workplace,
        "fuse-model",
        "tiny.onnx",
        "--seq-len",
        "8",
        "--threads",
        "2",
        "--json",
        setting=Setting(launcher=joining),
    )
    assert asked.returncode == 0 and "warning: --threads 2: a CPU quota" in asked.stderr, asked.stderr
    assert json.loads(asked.stdout)["summary"]["threads"] == 2
