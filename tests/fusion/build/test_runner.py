"""The runner's command line and what it prints: strict JSON, and one line about whatever it would have to ignore."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from data.architecture import Architecture
from fusion import Processor, Runner, build_model_suite, compile_model, host_target
from fusion.build.runner import visit_line
from fusion.build.toolchain import RUNNER_SOURCES, RUNTIME, RUNTIME_SOURCES
from fusion.planning.fused_block import MAX_INPUTS
from tests.fusion.build.gcc import NATIVE, RUNTIME_WARNINGS, link, needs_gcc
from tests.fusion.families import VOCABULARY, Export, export_family

pytestmark = pytest.mark.usefixtures("shared_home")

IDS = ["--input", "input_ids=1,2,3,4,5,6,7"]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, shared_home: None) -> list[str]:
    """The runner of a small model, and its words for the weights."""
    path = export_family(
        Export("bert", changes={"num_hidden_layers": 1}), tmp_path_factory.mktemp("model") / "model.onnx"
    )
    made = compile_model(path, seq_len=7).runner()
    return [str(made.executable), "model", "--weights", str(made.weights)]


@pytest.fixture(scope="module")
def many_ports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runner of a program with twelve inputs and outputs, under the address sanitizer."""
    folder = tmp_path_factory.mktemp("many")
    sources = [RUNTIME / name for name in (*RUNTIME_SOURCES, *RUNNER_SOURCES)]
    return link([NATIVE / "many_ports.c", *sources], folder / "runner", "address,undefined", RUNTIME_WARNINGS)


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


def no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")


def strict(text: str) -> dict[str, Any]:
    """A JSON object without NaN and Infinity, which Python's reader would take."""
    document: dict[str, Any] = json.loads(text, parse_constant=no_constant)
    return document


@needs_gcc
def test_output_is_strict_json_and_loses_nothing(many_ports: Path) -> None:
    names = ['in"put\\0', "in=1", "in\n2", *(f"in{i}" for i in range(3, 12))]
    words = [word for i, name in enumerate(names) for word in ("--input", f"{name}={i + 1},0")]
    done = run([str(many_ports), 'many"', "--fill", "--threads", "2", *words])
    assert done.returncode == 0, done.stderr
    document = strict(done.stdout)
    assert document["program"] == 'many"' and document["blocks"][0]["hash"] == 'ste"p'
    outputs = list(document["outputs"].items())
    assert [name for name, _ in outputs[:3]] == ['out"put\\0', "out\t1", "öut"] and len(outputs) == 12
    assert outputs[0][1] == [1.0, None, None, None]
    assert [values for _, values in outputs[1:]] == [[float(i)] * 4 for i in range(2, 13)]
    assert document["non_finite"] == {'out"put\\0': {"nan": [3], "inf": [1], "-inf": [2]}}


def test_finite_outputs_have_nothing_that_is_not(runner: list[str]) -> None:
    document = strict(run([*runner, *IDS]).stdout)
    (logits,) = document["outputs"].values()
    assert document["non_finite"] == {} and all(map(math.isfinite, logits))


BAD_WORDS = [
    (["--threads", "x"], "--threads takes a whole number from 1 to 64, not 'x'"),
    (["--threads", "65"], "--threads takes a whole number from 1 to 64, not '65'"),
    (["--threads", "4294967297"], "--threads takes a whole number from 1 to 64, not '4294967297'"),
    (["--threads", ""], "--threads takes a whole number"),
    (["--runs", "-1"], "--runs takes a whole number"),
    (["--runs", "0"], "--runs takes a whole number from 1"),
    (["--runs", "1e3"], "--runs takes a whole number"),
    (["--runs", "99999999999999999999"], "--runs takes a whole number"),
    (["--warmup", " 5"], "--warmup takes a whole number"),
    (["--runs"], "a value is missing after --runs"),
    (["--describe"], "this runner is for the processor: it describes no GPU"),
    (["--frobnicate", "1"], "unknown option --frobnicate"),
    (["--rotate", "1000"], "--rotate is for --fill"),
    (["--fill"], "give either --weights FILE or --fill"),
    (["--weights", "other.bin"], "--weights is given twice"),
    (["other"], "the program is given twice"),
    (["--affinity", "xyz"], "--affinity takes a hexadecimal mask, not 'xyz'"),
    (["--affinity", ""], "--affinity takes a hexadecimal mask"),
    (["--affinity", "-1"], "--affinity takes a hexadecimal mask"),
    (["--affinity", "1" + 300 * "0"], "--affinity takes a hexadecimal mask"),
    (["--input", "input_ids=1,,2"], "input 'input_ids': not a list of whole numbers: ',2'"),
    (["--input", "input_ids=1,2,"], "input 'input_ids': not a list of whole numbers: ''"),
    (["--input", "input_ids="], "input 'input_ids': not a list of whole numbers"),
    (["--input", "input_ids=1,2.5"], "input 'input_ids': not a list of whole numbers"),
    (["--input", "input_ids=1,2,3"], "input 'input_ids' takes 7 numbers, not 3"),
    (["--input", "input_ids=1,2,3,4,5,6,7,8"], "input 'input_ids' takes 7 numbers, not 8"),
    (["--input", f"input_ids=1,2,3,4,5,6,{VOCABULARY}"], f"holds a number outside 0 to {VOCABULARY - 1}"),
    (["--input", "input_ids=-1,2,3,4,5,6,7"], f"holds a number outside 0 to {VOCABULARY - 1}"),
    (["--input", "input_ids=1,2,3,4,5,6,18446744073709551617"], "holds a number outside"),
    (["--input", "attention_mask=1,1,1,1,1,1,1"], "input 'input_ids' is missing"),
    (["--input", "positions=1"], "the program has no input 'positions'"),
    (["--input", "input_ids"], "the program has no input 'input_ids'"),
    ([*IDS, *IDS], "input 'input_ids' is given twice"),
]


@pytest.mark.parametrize(("words", "problem"), BAD_WORDS, ids=["-".join(words)[:40] for words, _ in BAD_WORDS])
def test_bad_words_are_one_line(words: list[str], problem: str, runner: list[str]) -> None:
    done = run([*runner, *words])
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and problem in line


def test_words_with_line_breaks_stay_one_line(runner: list[str]) -> None:
    assert run([*runner, "--un\nknown", "1"]).stderr == "error: unknown option --un known; --help lists them\n"


BAD_ROUNDS = [
    ("", "holds no visit"),
    ("0 1 0 model", "line 1 of the round has no end"),
    ("0 1 0 model\n\n", "line 2 of the round is not WARMUP RUNS ROTATE PROGRAM"),
    ("0 1 model\n", "line 1 of the round is not WARMUP RUNS ROTATE PROGRAM"),
    ("0 1 model 0\n", "line 1 of the round: rotate takes a whole number"),
    ("0 1 0\n", "line 1 of the round is not WARMUP RUNS ROTATE PROGRAM"),
    ("0 1 0 \n", "line 1 of the round: no program "),
    ("0 1 0 model \n", "line 1 of the round: no program model "),
    ("0 1 0 model\r\n", "line 1 of the round: no program model"),
    ("0  1 0 model\n", "line 1 of the round: runs takes a whole number from 1"),
    ("0 0 0 model\n", "line 1 of the round: runs takes a whole number from 1"),
    ("-1 1 0 model\n", "line 1 of the round: warmup takes a whole number from 0"),
    ("0 1 0 model\n0 x 0 model\n", "line 2 of the round: runs takes a whole number"),
    ("0 4294967297 0 model\n", "line 1 of the round: runs takes a whole number"),
    ("0 1 0 mo\0del\n", "line 1 of the round holds a null character"),
    ("0 1 5 model\n", "line 1 of the round: bytes to rotate over are for --fill"),
]


@pytest.mark.parametrize(("text", "problem"), BAD_ROUNDS)
def test_bad_rounds_are_one_line(text: str, problem: str, runner: list[str]) -> None:
    words = [runner[0], "--round", "-", *runner[2:]]
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and problem in line


def test_a_round_is_all_that_is_said_of_its_visits(runner: list[str], tmp_path: Path) -> None:
    executable, _, *weights = runner
    for more in (["model"], ["--runs", "1"], ["--warmup", "0"], ["--rotate", "0"], IDS, ["--round", "other"]):
        done = run([executable, "--round", "-", *weights, *more])
        assert done.returncode == 2 and "--round" in done.stderr and done.stderr.count("\n") == 1
    for path, problem in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        done = run([executable, "--round", str(path), *weights])
        assert done.returncode == 2 and f"the round {path}: {problem}" in done.stderr


def test_a_model_of_one_file_is_visited_again_and_again(runner: list[str], tmp_path: Path) -> None:
    (tmp_path / "round").write_text("1 2 0 model\n0 3 0 model\n")
    done = run([runner[0], "--round", str(tmp_path / "round"), *runner[2:]])
    first, second = map(strict, done.stdout.splitlines())
    assert done.returncode == 0 and first["model_bytes"] == second["model_bytes"]
    assert [len(visit[key]) for visit in (first, second) for key in ("warmups_ms", "samples_ms")] == [1, 2, 0, 3]
    assert 0 < first["began_ms"] < second["began_ms"]


@pytest.fixture(scope="module")
def two_models(shared_home: None) -> Runner:
    """A runner of two models of unequal sizes."""
    sizes = {"vocab_size": 50, "seq_len": 7}
    return build_model_suite(
        [Architecture(1, 32, 2, 64, **sizes), Architecture(2, 64, 4, 96, **sizes)], Processor(host_target())
    )


def test_programs_of_a_round_share_memory_and_keep_their_own_figures(two_models: Runner) -> None:
    small, large = two_models.programs
    order = (small, large, small, large)
    text = "".join(visit_line(program, 1, 3, 16 << 20) for program in order)
    command = two_models.round_command("-", threads=2)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    visits = [strict(line) for line in done.stdout.splitlines()]
    assert [visit["program"] for visit in visits] == list(order), done.stderr
    alone = [
        strict(run(two_models.command(p, threads=2, warmup=1, runs=3, rotate_bytes=16 << 20)).stdout) for p in order
    ]
    for visit, single in zip(visits, alone, strict=True):
        assert visit.keys() == single.keys() and visit["model_bytes"] == single["model_bytes"]
        assert [block["hash"] for block in visit["blocks"]] == [block["hash"] for block in single["blocks"]]
    assert visits[-1]["peak_memory_bytes"] < visits[0]["model_bytes"] + visits[1]["model_bytes"]


def damaged_weights(folder: Path, good: Path) -> dict[str, Path]:
    """Weights files that are none, by what is said of them."""
    text = good.read_bytes()
    files = {
        "have 100 bytes": text[:100],
        "bytes, the program needs": text[:-4],
        "of another program": b"x" * len(text),
    }
    made = {problem: folder / f"{index}.bin" for index, problem in enumerate(files)}
    for problem, path in made.items():
        path.write_bytes(files[problem])
    os.mkfifo(folder / "pipe")
    return made | {
        "No such file": folder / "missing.bin",
        "Is a directory": folder,
        "seek": folder / "pipe",
        "have 0 bytes": Path("/dev/null"),
    }


def test_weights_that_are_none_are_named(runner: list[str], tmp_path: Path) -> None:
    for problem, path in damaged_weights(tmp_path, Path(runner[-1])).items():
        done = run([*runner[:-1], str(path), *IDS])
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert problem in done.stderr and str(path) in done.stderr


@pytest.mark.parametrize(("words", "what"), [(IDS, "result"), (["--help"], "help")])
def test_output_that_cannot_be_written_is_an_error(words: list[str], what: str, runner: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*runner, *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (2, f"error: cannot write the {what}: No space left on device\n")


def test_masks_and_token_types_have_defaults(runner: list[str]) -> None:
    zeros, ones = ",".join("0" * 7), ",".join("1" * 7)
    given = run([*runner, *IDS, "--input", f"attention_mask={ones}", "--input", f"token_type_ids={zeros}"])
    assert strict(run([*runner, *IDS]).stdout)["outputs"] == strict(given.stdout)["outputs"]


def test_the_compiler_and_the_runtime_agree_on_operands() -> None:
    assert f"#define PB_MAX_INPUTS {MAX_INPUTS} " in (RUNTIME / "program.h").read_text()
