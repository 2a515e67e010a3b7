"""Tiles of products chosen by timing, against a driver that stands in for one: which is chosen, and what is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import DeviceError
from data.home import home
from fusion import make_block
from fusion.build.machine import host_gpu
from fusion.build.tile_timing import MOST_TILES, timed_tiles
from fusion.emit.opencl.family import FAMILIES, Tile
from fusion.emit.opencl.product import tiles_of
from tests.support import new_home

PRODUCT = make_block("gemm", {"rows": 16, "inner": 8, "columns": 32}, ("bias",))
ROWS = make_block("rowwise", {"rows": 16, "columns": 32}, ("gelu",))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state home for all tests, so that the runner is compiled once; choices are made anew in each."""
    return new_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def choose(
    stand_in: Path, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], tuple[Tile | None, int]]:
    """The tile that is chosen for the product on the stand-in, and how many kernels were launched to find it."""
    log = tmp_path / "log"
    monkeypatch.setenv("POCKETBERT_OPENCL", str(stand_in))
    monkeypatch.setenv("POCKETBERT_HOME", str(compiled))
    shutil.rmtree(compiled / "tiles", ignore_errors=True)
    monkeypatch.setenv("STAND_IN_LOG", str(log))

    def chosen() -> tuple[Tile | None, int]:
        log.unlink(missing_ok=True)
        tiles = timed_tiles(host_gpu(), [PRODUCT, ROWS, PRODUCT])
        lines = log.read_text().splitlines()
        assert [line for line in lines if line.startswith("error")] == []
        assert set(tiles) <= {PRODUCT.hash}
        return tiles.get(PRODUCT.hash), lines.count("EnqueueNDRangeKernel")

    return chosen


@pytest.mark.parametrize(("slow", "image"), [("read_only image1d_buffer_t", False), ("weights + column;", True)])
def test_the_fastest_is_chosen_and_kept(
    slow: str, image: bool, choose: Callable[[], tuple[Tile | None, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_SLOW", slow)
    first, launches = choose()
    assert first is not None and first.image == image
    assert launches > len(tiles_of(PRODUCT, FAMILIES["adreno"], 1 << 16))
    monkeypatch.delenv("STAND_IN_SLOW")
    assert choose() == (first, 0)


def test_a_choice_of_another_driver_or_a_damaged_one_is_made_anew(
    choose: Callable[[], tuple[Tile | None, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_SLOW", "read_only image1d_buffer_t")
    _, launches = choose()
    (kept,) = (home() / "tiles").iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", whole[:-1], whole[:20] + b"9" + whole[21:]):
        kept.write_bytes(damaged)
        again, repeated = choose()
        assert again is not None and not again.image and repeated == launches
        assert choose() == (again, 0)
    monkeypatch.setenv("STAND_IN_DRIVER", "2")
    assert choose()[1] == launches and choose()[1] == 0
    assert len(list((home() / "tiles").iterdir())) == 2


def test_trouble_while_timing_is_an_answer(
    choose: Callable[[], tuple[Tile | None, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FAIL", "EnqueueNDRangeKernel:-5")
    with pytest.raises(DeviceError, match=r"tiles cannot be timed on the GPU: .*out of resources"):
        choose()


def test_no_product_has_more_tiles_than_are_timed() -> None:
    assert all(len(family.tiles) <= MOST_TILES for family in FAMILIES.values())
