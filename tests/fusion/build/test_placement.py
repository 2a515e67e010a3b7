"""Threads that a pool moves between processors may afterwards use what they might before."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fusion import compile_model
from fusion.build.toolchain import RUNTIME
from tests.fusion.build.gcc import NATIVE, link, model_objects, needs_gcc
from tests.fusion.families import Export, export_family

pytestmark = [pytest.mark.usefixtures("shared_home"), needs_gcc]

WRAPPED = [f"-Wl,--wrap={name}" for name in ("sched_setaffinity", "sched_getcpu")]


@pytest.mark.parametrize("sanitizer", [None, "thread"])
def test_affinity_is_given_back(sanitizer: str | None, tmp_path: Path) -> None:
    """That of a caller who limited itself, and of one who did not: processors that come later are the latter's, too."""
    onnx = export_family(Export("bert", seq_len=64, changes={"num_hidden_layers": 1}), tmp_path / "model.onnx")
    model = compile_model(onnx, seq_len=64)
    parts = [*model_objects(model, sanitizer, tmp_path), NATIVE / "affinity.c"]
    program = link(parts, tmp_path / "program", sanitizer, [*WRAPPED, "-Wl,--wrap=fopen"])
    for pool, limit in ((8, 0), (8, 1), (8, 2)):
        words = [str(program), str(model.weights()), str(pool), "500", str(limit)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "given back\n", "")


def test_two_movers_of_a_thread_do_not_pin_it(tmp_path: Path) -> None:
    program = link([NATIVE / "movers.c", RUNTIME / "placement.c"], tmp_path / "program", None, WRAPPED)
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=60, check=False)
    count = len(os.sched_getaffinity(0))
    assert (done.returncode, done.stdout) == (0, f"{count} of {count}, needs none\n"), done.stderr
