"""One model in threads, forked children and interpreters that end: equal outputs, and nobody waits for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusion import compile_model
from fusion.compiled import CompiledModel
from tests.fusion.build.gcc import NATIVE, SANITIZER_SETTINGS, link, model_objects, needs_gcc
from tests.fusion.families import Export, export_family

pytestmark = pytest.mark.usefixtures("shared_home")

LIMIT_S = 240


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model small enough to run ten thousand times."""
    how = Export("bert", changes={"num_hidden_layers": 1})
    return export_family(how, tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def model(onnx: Path, shared_home: None) -> CompiledModel:
    return compile_model(onnx, seq_len=7)


@needs_gcc
@pytest.mark.parametrize("sanitizer", [None, "thread", "address,undefined"])
def test_two_threads_and_forks_give_equal_outputs(sanitizer: str | None, model: CompiledModel, tmp_path: Path) -> None:
    parts = [*model_objects(model, sanitizer, tmp_path), NATIVE / "threads_and_forks.c"]
    program = link(parts, tmp_path / "program", sanitizer)
    # A child forked while a worker that starts holds ASan's own allocator lock waits for it for ever.
    many = 0 if sanitizer == "address,undefined" else 10
    for pool, runs, forks in ((1, 10_000, 100), (2, 1_000, 100), (8, 1_000, many)):
        words = [str(program), str(model.weights()), str(pool), str(runs), str(forks)]
        environment = {**os.environ, **SANITIZER_SETTINGS}
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "equal\n", "")


@needs_gcc
@pytest.mark.parametrize("sanitizer", [None, "address,undefined"])
def test_workers_that_are_late_hold_nobody_up(sanitizer: str | None, model: CompiledModel, tmp_path: Path) -> None:
    """Without them a run ends all the same, and whenever they come they do no harm; more threads than processors."""
    parts = [*model_objects(model, sanitizer, tmp_path), NATIVE / "late_workers.c"]
    words = [str(link(parts, tmp_path / "program", sanitizer)), str(model.weights()), "8", "10000"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "equal\n", "")


@needs_gcc
def test_an_open_that_fails_half_way_leaves_nothing(model: CompiledModel, tmp_path: Path) -> None:
    parts = [*model_objects(model, "address,undefined", tmp_path), NATIVE / "failing_opens.c"]
    wrapped = [f"-Wl,--wrap={name}" for name in ("posix_memalign", "malloc", "pthread_create")]
    program = link(parts, tmp_path / "program", "address,undefined", wrapped)
    done = subprocess.run([str(program), str(model.weights())], capture_output=True, text=True, timeout=60, check=False)
    # The model, its five arrays, then memory and start of each of three threads.
    assert (done.returncode, done.stdout) == (0, "12\n"), done.stderr


_BEGIN = """
import gc, multiprocessing, os, signal, sys, threading, time
import numpy as np
from data.errors import PocketBertError
from fusion import compile_model

def other_threads():
    return len(os.listdir("/proc/self/task")) - threading.active_count()

before = other_threads()
model = compile_model(sys.argv[1], seq_len=7)
inputs = [{"input_ids": np.full((1, 7), 3 + i)} for i in range(4)]
expected = [model.run(one)[0] for one in inputs]

def good(times=200, model=model):
    return all(np.array_equal(model.run(inputs[i % 4])[0], expected[i % 4]) for i in range(times))

def child(work):
    process = os.fork()
    if not process:
        os._exit(0 if work() else 1)
    return os.waitpid(process, 0)[1] == 0

def in_threads(*work):
    results = []
    threads = [threading.Thread(target=lambda one=one: results.append(one())) for one in work]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return len(results) == len(work) and all(results)

def has_threads(count):
    # Threads that Python has joined are still about to end.
    while other_threads() - before != count: time.sleep(0.01)
    return True
"""
_SCRIPTS = {
    "threads": """
other = compile_model(sys.argv[1], seq_len=7, threads=1)
assert in_threads(good, good, lambda: good(model=other), lambda: model.time(2, 50).shape == (50,))
""",
    "threads that open it": """
model.close()
assert in_threads(good, good, good)
assert has_threads(1)
""",
    "forks": """
assert all(child(good) for _ in range(5)) and good()
assert child(lambda: child(good) and good())
assert child(lambda: (model.close(), good())[1]) and good()
assert child(lambda: in_threads(good, good)) and good()
assert child(lambda: not gc.collect() or True)
""",
    "forks while threads run": """
ended = threading.Event()
def until_ended():
    while not ended.is_set():
        if not good(10): return False
    return True
def forks():
    done = all([child(good) for _ in range(5)] + [child(lambda: (model.close(), good())[1])])
    ended.set()
    return done
assert in_threads(until_ended, until_ended, forks)
""",
    "a pool of forks": """
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert all(pool.map(good, [50] * 4))
assert good()
""",
    "a child that ends as a program does": """
process = os.fork()
if not process:
    sys.exit(0)
assert os.waitpid(process, 0)[1] == 0 and good()
""",
    "closing": """
def closing():
    for _ in range(20):
        model.close()
        time.sleep(0.002)
    return True
assert in_threads(good, good, lambda: model.time(1, 50).shape == (50,), closing)
model.close()
model.close()
assert has_threads(0) and good()
""",
    "collected": """
models = [compile_model(sys.argv[1], seq_len=7) for _ in range(3)]
assert all(good(4, model=one) for one in models) and has_threads(4)
ran = threading.Thread(target=lambda one: good(200, model=one), args=(models[0],))
ran.start()
del models
ran.join()
del ran
gc.collect()
assert has_threads(1) and good()
""",
    "interrupted while it is timed": """
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    model.time(0, 1_000_000)
except KeyboardInterrupt:
    assert good()
else:
    raise AssertionError("it went on")
""",
    "an end while a thread runs": """
def for_ever():
    while True: model.run(inputs[0])
threading.Thread(target=for_ever, daemon=True).start()
threading.Thread(target=lambda: model.time(0, 1_000_000), daemon=True).start()
time.sleep(0.1)
""",
}


@pytest.mark.parametrize("name", _SCRIPTS)
def test_python_shares_a_model(name: str, onnx: Path, model: CompiledModel) -> None:
    model.library(), model.weights()  # compiled before the clock runs
    script = f"{_BEGIN}\n{_SCRIPTS[name]}\nprint('good')"
    done = subprocess.run(
        [sys.executable, "-c", script, str(onnx)], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr
