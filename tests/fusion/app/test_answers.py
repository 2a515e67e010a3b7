"""Text in, answer out: an app's library in C++ threads and in a Java machine, beside transformers' pipelines."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fusion import compile_model, export_android, export_compiled
from fusion.build.android import ABIS
from fusion.texts import texts_of
from tests.fusion.app.models import TEXTS, save_embedding, save_model
from tests.fusion.app.pipelines import SEQ_LEN, Answer, Pipelines
from tests.fusion.build.android import make_app, make_bionic_names
from tests.fusion.build.gcc import WARNINGS, needs_gcc, needs_gxx

pytestmark = [
    pytest.mark.usefixtures("shared_home"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the emulator's ABI runs on x86-64 only"),
]
needs_java = pytest.mark.skipif(shutil.which("javac") is None, reason="no Java compiler is installed")

NATIVE = Path(__file__).parent / "native"
NAME = "demo"
TOLERANCE = 1e-4
# Threads, and how often each of them asks for every text: a thousand texts and more of the first case.
THREADS, MANY, FEW = 8, -(-1000 // len(TEXTS)), 3


@dataclass(frozen=True)
class Case:
    """A model: its family and head, and settings of its ``config.json`` and of its tokenizer."""

    family: str
    head: str
    settings: tuple[tuple[str, Any], ...] = ()
    tokenizer: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return "-".join([self.family, self.head, *(str(value) for _, value in (*self.settings, *self.tokenizer))])


# Every family, every head, every way to make scores, every kind of tokenizer; padding and cutting on the left.
CASES = (
    Case("bert", "classification"),
    Case("bert", "tokens"),
    Case("bert", "embedding"),
    Case("bert", "classification", (("problem_type", "multi_label_classification"),)),
    Case("minilm", "classification", tokenizer=(("padding_side", "left"), ("truncation_side", "left"))),
    Case("distilbert", "regression"),
    Case("roberta", "tokens"),
    Case("electra", "regression", (("problem_type", "regression"),)),
    Case("electra", "tokens"),
    Case("albert", "tokens", tokenizer=(("padding_side", "left"),)),
    Case("mobilebert", "classification"),
    Case("mobilebert-plain", "tokens"),
)


@dataclass(frozen=True)
class Exported:
    """A model's directory, and what was exported of it: for an app, and for this machine."""

    checkpoint: Path
    app: Path
    compiled: Path
    finds_entities: bool
    times: int

    @property
    def assets(self) -> list[str]:
        """Its weights and its tokenizer."""
        return [str(self.app / "assets" / f"{NAME}.{kind}") for kind in ("weights", "tokenizer")]


@pytest.fixture(scope="module", params=CASES, ids=str)
def exported(request: pytest.FixtureRequest, shared_home: None, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    case, folder = request.param, tmp_path_factory.mktemp("model")
    checkpoint = folder / "checkpoint"
    if case.head == "embedding":
        save_embedding(checkpoint)
    else:
        save_model(checkpoint, case.family, case.head, dict(case.tokenizer), **dict(case.settings))
    assert Pipelines(checkpoint).sides.items() >= dict(case.tokenizer).items()
    model = compile_model(checkpoint, seq_len=SEQ_LEN)
    texts = texts_of(model, checkpoint)
    app = export_android(model, folder / "app", NAME, texts=texts)
    compiled = export_compiled(model, folder / "compiled", texts=texts)
    return Exported(
        checkpoint, app, compiled, texts.answers.kind == "finds entities", MANY if case is CASES[0] else FEW
    )


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The texts, a line each."""
    file = tmp_path_factory.mktemp("texts") / "lines"
    file.write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """For each ABI a program that loads an app's library by a stand-in, under qemu for ARM."""
    folders = {abi: tmp_path_factory.mktemp(abi) for abi in ABIS}
    return {abi: make_app(folder, abi, source="app_answers.c") for abi, folder in folders.items()}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This machine's C library under bionic's names."""
    return make_bionic_names(tmp_path_factory.mktemp("names"))


@cache
def expected_of(exported: Exported) -> tuple[list[str], list[Answer]]:
    asked = Pipelines(exported.checkpoint)
    return asked.labels, asked.answers(TEXTS)


def told(output: str) -> tuple[list[str], list[Answer]]:
    """Labels and answers of what the programs print."""
    labels = [line[len("label ") :] for line in output.splitlines() if line.startswith("label ")]
    rows = [line.split() for line in output.splitlines() if not line.startswith("label ")]
    return labels, [Answer(int(row[0]), [(float(number),) for number in row[1:]]) for row in rows]


def by_name(numbers: list[float], labels: Sequence[str]) -> list[float]:
    """Entities by the first label of their name, as pipelines tell them by name only."""
    names = [label.split("-", 1)[-1] for label in labels]
    return [names.index(names[int(number)]) if index % 4 == 0 else number for index, number in enumerate(numbers)]


def assert_same(output: str, exported: Exported) -> None:
    labels, answers = told(output)
    assert labels == expected_of(exported)[0]
    assert_rows(answers, exported)


def assert_rows(answers: list[Answer], exported: Exported) -> None:
    labels, expected = expected_of(exported)
    flat = [[number for row in answer.rows for number in row] for answer in expected]
    found = [[number for (number,) in answer.rows] for answer in answers]
    if exported.finds_entities:
        found = [by_name(numbers, labels) for numbers in found]
    assert [answer.removed for answer in answers] == [answer.removed for answer in expected]
    assert found == [pytest.approx(numbers, abs=TOLERANCE) for numbers in flat]
    assert len({tuple(round(number, 3) for number in numbers) for numbers in found}) > 3  # texts matter
    assert max(answer.removed for answer in answers) > 0


def run(command: Sequence[str], folder: Path | None = None, **settings: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, env=os.environ | settings, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def cpp_program(exported: Exported, names: Path, folder: Path) -> Path:
    """native/answers.cpp, linked with the emulator's library."""
    library = exported.app / "jniLibs" / "x86_64" / f"lib{NAME}.so"
    words = ["g++", "-std=c++17", *WARNINGS, "-I", str(exported.app / "include"), str(NATIVE / "answers.cpp")]
    words += [str(library), f"-Wl,-rpath-link,{names}", "-Wl,--allow-shlib-undefined", "-lpthread"]
    subprocess.run([*words, "-o", str(folder / "answers")], check=True, timeout=120)
    return folder / "answers"


@needs_gxx
def test_threads_of_cpp_are_answered_as_by_transformers(
    exported: Exported, lines: Path, names: Path, tmp_path: Path
) -> None:
    program, library = cpp_program(exported, names, tmp_path), exported.app / "jniLibs" / "x86_64"
    command = [str(program), *exported.assets, str(lines), str(THREADS), str(exported.times)]
    assert_same(run(command, LD_LIBRARY_PATH=f"{names}:{library}"), exported)


@needs_gxx
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
@pytest.mark.parametrize("exported", CASES[:3], indirect=True, ids=str)
def test_closing_leaves_nothing(exported: Exported, lines: Path, names: Path, tmp_path: Path) -> None:
    library = exported.app / "jniLibs" / "x86_64"
    program = cpp_program(exported, names, tmp_path)
    command = ["valgrind", "--leak-check=full", "--error-exitcode=9", "--fair-sched=yes", str(program)]
    done = subprocess.run(
        [*command, *exported.assets, str(lines), "2", "1"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"LD_LIBRARY_PATH": f"{names}:{library}"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "All heap blocks were freed" in done.stderr and "ERROR SUMMARY: 0 errors" in done.stderr


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of compiled classes of an app whose NativeModel.java is given; once for all models, if it is one."""

    @cache
    def compiled(native_model: str) -> Path:
        folder = tmp_path_factory.mktemp("java")
        main = (NATIVE / "Main.java").read_text(encoding="utf-8").replace("NAME", NAME)
        sources = {"NativeModel.java": native_model, "Main.java": main}
        for name, text in sources.items():
            (folder / name).write_text(text, encoding="utf-8")
        words = [
            "javac",
            "-Xlint:all",
            "-Werror",
            "-d",
            str(folder / "classes"),
            *(str(folder / name) for name in sources),
        ]
        subprocess.run(words, check=True, timeout=120)
        return folder / "classes"

    return compiled


@needs_java
@needs_gcc
def test_a_java_machine_is_answered_as_by_transformers(
    exported: Exported, lines: Path, names: Path, classes: Callable[[str], Path]
) -> None:
    native_model = exported.app / "java" / "pocketbert" / NAME / "NativeModel.java"
    found = classes(native_model.read_text(encoding="utf-8"))
    library = exported.app / "jniLibs" / "x86_64"
    command = ["java", "-Xcheck:jni", f"-Djava.library.path={library}", "-cp", str(found), f"pocketbert.{NAME}.Main"]
    command += [*exported.assets, str(lines), str(THREADS), str(exported.times)]
    assert_same(run(command, LD_LIBRARY_PATH=str(names)), exported)


@pytest.mark.parametrize("abi", ABIS)
def test_libraries_as_android_loads_them_answer_as_transformers_does(
    abi: str, exported: Exported, lines: Path, programs: dict[str, list[str]]
) -> None:
    library = exported.app / "jniLibs" / abi / f"lib{NAME}.so"
    assert_rows(told(run([*programs[abi], str(library), *exported.assets, str(lines)]))[1], exported)


def test_the_runner_is_answered_as_by_transformers(exported: Exported) -> None:
    labels, expected = expected_of(exported)
    for text, answer in zip(TEXTS, expected, strict=True):
        first, *second = text.split("\t")
        words = ["./runner", "--text", first, "--weights", "weights.bin", "--tokenizer", "tokenizer.bin"]
        words += ["--pair", *second] if second and not exported.finds_entities else []
        document = json.loads(run(words, exported.compiled))
        assert document["removed_tokens"] == answer.removed
        assert rows_of(document, labels) == [pytest.approx(row, abs=TOLERANCE) for row in answer.rows]


def rows_of(document: dict[str, Any], labels: list[str]) -> list[tuple[float, ...]]:
    """The runner's document as rows of numbers."""
    if "labels" in document:
        return [(labels.index(row["name"]), row["score"]) for row in document["labels"]]
    if "vector" in document:
        return [(number,) for number in document["vector"]]
    names = [label.split("-", 1)[-1] for label in labels]
    return [(names.index(row["name"]), row["score"], row["start"], row["end"]) for row in document["entities"]]


def test_an_apps_folder_names_the_model_throughout(exported: Exported) -> None:
    files = {str(path.relative_to(exported.app)) for path in exported.app.rglob("*") if path.is_file()}
    package = f"java/pocketbert/{NAME}"
    assert {
        f"{package}/TextModel.kt",
        f"{package}/NativeModel.java",
        f"README-{NAME}.md",
        f"proguard-{NAME}.pro",
    } <= files
    for name in files:
        if name.endswith((".kt", ".java", ".md", ".pro")):
            text = (exported.app / name).read_text(encoding="utf-8")
            assert not {"NAME", "PB_THREADS", "ANSWER", "GPU_DRIVER"} & set(text.replace("`", " ").split()), name
            assert "libOpenCL" not in text


@needs_gxx
def test_the_examples_answer(exported: Exported, tmp_path: Path) -> None:
    folder = shutil.copytree(exported.compiled, tmp_path / "compiled")
    libraries = ["-lpthread", "-lm", "-Wl,-rpath,$ORIGIN"]
    asked = zip(TEXTS, expected_of(exported)[1], strict=True)
    usable = {text: len(answer.rows) for text, answer in asked if not answer.removed and "\t" not in text}
    text = max(usable, key=lambda text: usable[text])
    assert usable[text]
    for compiler, source in (("gcc", "answer.c"), ("g++", "answer.c"), ("g++", "answer.cpp")):
        language = ["-x", "c++"] if compiler == "g++" else []
        words = [compiler, *WARNINGS, *language, source, "-x", "none", "model.so", *libraries, "-o", "answer"]
        subprocess.run(words, cwd=folder, check=True, timeout=60)
        answers = [run([*program, text], folder) for program in (["./answer"], [sys.executable, "answer.py"])]
        assert answers[0].split()[0][:4] == answers[1].split()[0][:4]
    done = subprocess.run(["./answer"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "usage" in done.stderr
