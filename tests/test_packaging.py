"""The wheel, built from the checkout and installed elsewhere, is complete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
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


def run_installed(installed: Path, folder: Path, name: str, *arguments: str) -> Completed:
    env = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    argv = [str(installed / name), *arguments]
    return run_in(folder, argv, env | {"POCKETBERT_HOME": str(folder / "home")}, timeout=240)


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
    place = run_in(
        tmp_path, [str(installed / "python"), "-c", "import fusion; print(fusion.__file__)"], dict(os.environ)
    )
    assert place.stdout.startswith(str(installed.parent)), "the installed wheel is tested, not the checkout"
    fused = run_installed(installed, tmp_path, "fuse-model", "distilbert", "--seq-len", "16", "--bench", "--json")
    assert fused.returncode == 0, fused.stderr
    assert json.loads(fused.stdout)
