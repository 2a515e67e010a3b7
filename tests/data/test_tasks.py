"""GLUE's layouts, docpairs, and the scores of a task."""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataFileError, InputError, UnknownNameError
from data.tasks import Example, Task, load_task, task_names
from data.tasks.docpairs import make_pairs
from data.tasks.docstrings import Documented, first_sentence, gather

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"

HEADERS = {
    "MRPC": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n",
    "RTE": "index\tsentence1\tsentence2\tlabel\n",
    "STS-B": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n",
    "CoLA": "",
    "SST-2": "sentence\tlabel\n",
    "QQP": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n",
    "QNLI": "index\tquestion\tsentence\tlabel\n",
    "MNLI": "index\tsentence1\tsentence2\tlabel1\tgold_label\n",
}
ROWS = {
    "MRPC": ["1\t10\t11\tHe \"said so\tHe said 'so'", "0\t12\t13\tA man\tA dog"],
    "RTE": ["0\tIt rains.\tIt is wet.\tentailment", "1\tIt rains.\tIt is dry.\tnot_entailment"],
    "STS-B": ["0\tg\tf\t2012\t1\ts\ts\tA plane\tA jet\t4.5", "1\tg\tf\t2012\t1\ts\ts\tA plane\tA cat\t0.0"],
    "CoLA": ["gj04\t1\t\tThe sailors rode the breeze.", "gj04\t0\t*\tThe more does Bill smoke."],
    "SST-2": ["a joy\t1", "a bore\t0"],
    "QQP": ["1\t3\t4\tWho?\tWhich one?\t1", "2\t5\t6\tWho?\tWhere?\t0"],
    "QNLI": ["0\tWho?\tShe did.\tentailment", "1\tWho?\tIt rains.\tnot_entailment"],
    "MNLI": ["0\tIt rains.\tIt is wet.\tneutral\tentailment", "1\tIt rains.\tIt is dry.\tneutral\tcontradiction"],
}
FOLDERS = {"mrpc": "MRPC", "rte": "RTE", "stsb": "STS-B", "cola": "CoLA", "sst2": "SST-2", "qqp": "QQP", "qnli": "QNLI"}


def write_task(root: Path, folder: str, rows: list[str]) -> Path:
    (root / folder).mkdir(parents=True)
    for split in ("train", "dev"):
        (root / folder / f"{split}.tsv").write_text(HEADERS[folder] + "\n".join(rows) + "\n", encoding="utf-8")
    return root / folder / "train.tsv"


@pytest.mark.parametrize("name", FOLDERS)
def test_each_glue_layout_is_read(name: str, tmp_path: Path) -> None:
    write_task(tmp_path, FOLDERS[name], ROWS[FOLDERS[name]])
    task = load_task(name, tmp_path)
    assert len(task.train) == len(task.dev) == 2
    assert {example.label for example in task.train} == ({4.5, 0.0} if name == "stsb" else {0.0, 1.0})
    assert (task.train[0].second is None) == (name in ("cola", "sst2"))
    assert task.labels == (1 if name == "stsb" else 2)


@pytest.mark.parametrize(("name", "dev"), [("mnli", "dev_matched"), ("mnli-mm", "dev_mismatched")])
def test_mnli_has_two_developments_and_rows_without_agreement(name: str, dev: str, tmp_path: Path) -> None:
    train = write_task(tmp_path, "MNLI", [*ROWS["MNLI"], "2\ta\tb\tneutral\t-", "3\ta\tb\tneutral\tneutral"])
    (train.parent / f"{dev}.tsv").write_text(HEADERS["MNLI"] + "\n".join(ROWS["MNLI"]) + "\n")
    task = load_task(name, tmp_path)
    assert [example.label for example in task.train] == [0.0, 2.0, 1.0]  # type: ignore[union-attr]
    assert len(task.dev) == 2
    assert task.label_names == ("entailment", "neutral", "contradiction")
    assert task.remarks == ("train.tsv: 1 rows without an agreed label (-) are left out",)


def test_a_few_malformed_rows_are_left_out_and_said(tmp_path: Path) -> None:
    path = write_task(tmp_path, "QQP", ROWS["QQP"])
    path.write_text(HEADERS["QQP"] + "\n".join([*ROWS["QQP"] * 150, "3\t5\t6\tWho?", "4\t5\t6\t\tWho?\t1"]) + "\n")
    task = load_task("qqp", tmp_path)
    assert len(task.train) == 300
    assert "train.tsv: 2 of 302 rows cannot be used and are left out, first 302: 4 columns, expected 6" in task.remarks


def test_kind_and_metric_may_be_chosen_where_they_suit(tmp_path: Path) -> None:
    write_task(tmp_path, "STS-B", ROWS["STS-B"])
    write_task(tmp_path, "MRPC", ROWS["MRPC"])
    task = load_task("stsb", tmp_path, kind="similarity")
    assert (task.kind, task.metric, task.label_names) == ("similarity", "spearman", ())
    assert load_task("mrpc", tmp_path, metric="accuracy").metric == "accuracy"
    with pytest.raises(InputError, match="cannot be learnt as similarity"):
        load_task("mrpc", tmp_path, kind="similarity")
    with pytest.raises(InputError, match="accuracy, f1, matthews"):
        load_task("mrpc", tmp_path, metric="pearson")


def test_the_hub_is_asked_for_the_splits_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"premise": "a", "hypothesis": "b", "label": label} for label in (0, 1, 2, -1)]
    asked = []

    def load_dataset(*where: str, split: str) -> list[dict[str, object]]:
        asked.append((*where, split))
        return rows

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    task = load_task("mnli-mm")
    assert asked == [("nyu-mll/glue", "mnli", "train"), ("nyu-mll/glue", "mnli", "validation_mismatched")]
    assert len(task.train) == 3
    assert "mnli-mm: 1 rows of train without a label are left out" in task.remarks


def test_quotes_and_unicode_separators_are_text(tmp_path: Path) -> None:
    write_task(tmp_path, "SST-2", ['"half a\u2028quote\t1', "plain\t0"])
    assert load_task("sst2", tmp_path).train[0].first == '"half a\u2028quote'


@pytest.mark.parametrize(
    ("folder", "row", "problem"),
    [
        ("MRPC", "1\t2\t3\tonly one text", "4 columns, expected 5"),
        ("MRPC", "2\t1\t2\ta\tb", "label '2'"),
        ("MRPC", "1\t1\t2\ta\t ", "empty text"),
        ("RTE", "9\ta\tb\tneutral", "label 'neutral'"),
        ("STS-B", "0\tg\tf\t2012\t1\ts\ts\ta\tb\t5.1", "score '5.1'"),
        ("STS-B", "0\tg\tf\t2012\t1\ts\ts\ta\tb\tnan", "score 'nan'"),
        ("CoLA", "gj04\t1\tno text", "3 columns, expected 4"),
    ],
)
def test_malformed_row_is_named_by_file_and_line(folder: str, row: str, problem: str, tmp_path: Path) -> None:
    path = write_task(tmp_path, folder, [*ROWS[folder], row])
    name = next(name for name, known in FOLDERS.items() if known == folder)
    line = 3 if folder == "CoLA" else 4
    with pytest.raises(DataFileError) as caught:
        load_task(name, tmp_path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_give_examples_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    root = tmp_path_factory.mktemp("glue")
    path = write_task(root, "SST-2", ROWS["SST-2"])
    path.write_bytes(HEADERS["SST-2"].encode() + content)
    try:
        assert load_task("sst2", root).train
    except InputError as error:
        assert str(path) in str(error)


def test_missing_header_column_and_bad_encoding(tmp_path: Path) -> None:
    path = write_task(tmp_path, "SST-2", ROWS["SST-2"])
    path.write_text("text\tlabel\na\t1\n", encoding="utf-8")
    with pytest.raises(DataFileError, match="no column 'sentence'"):
        load_task("sst2", tmp_path)
    path.write_bytes(b"sentence\tlabel\na\t1\n\xff\t0\n")
    with pytest.raises(DataFileError, match=r"train\.tsv:3: not UTF-8"):
        load_task("sst2", tmp_path)


def test_missing_folder_and_unknown_task(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        load_task("mrpc", tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'mrpc'"):
        load_task("mprc", tmp_path)
    assert task_names()[0] == "docpairs"


@pytest.mark.parametrize(("name", "majority"), [("mrpc", 0.8122), ("rte", 0.5271)])
def test_real_files(name: str, majority: float) -> None:
    if not SHARED.is_dir():
        pytest.skip("no shared data")
    task = load_task(name, SHARED)
    assert task.majority == pytest.approx(majority, abs=1e-4)
    assert len(task.train) > 2000


def test_scores_and_their_baselines() -> None:
    examples = tuple(Example("a", None, float(label)) for label in (1, 1, 1, 0))
    task = Task("t", "classification", ("no", "yes"), "f1", examples, examples)
    assert task.majority == pytest.approx(6 / 7)
    perfect = np.eye(2)[[1, 1, 1, 0]]
    assert task.score(perfect) == {"accuracy": 1.0, "f1": 1.0, "matthews": 1.0}
    with pytest.raises(InputError, match="shape"):
        task.score(np.zeros((3, 2)))
    values = tuple(Example("a", "b", label) for label in (0.0, 2.5, 5.0))
    regression = Task("r", "regression", (), "pearson_spearman", values, values)
    assert regression.majority == 0.0
    assert regression.score(np.array([[0.1], [0.5], [0.9]]))["pearson_spearman"] == pytest.approx(1.0)
    assert regression.score(np.ones((3, 1)))["pearson_spearman"] == 0.0


def test_fingerprint_tells_tasks_apart() -> None:
    one, other = (Example("a", None, 1.0),), (Example("b", None, 1.0),)
    tasks = [
        Task("t", "classification", ("no", "yes"), "f1", train, dev)
        for train, dev in ((one, other), (other, one), (one, other))
    ]
    assert tasks[0].fingerprint == tasks[2].fingerprint != tasks[1].fingerprint


words = st.text(string.ascii_lowercase, min_size=1, max_size=3)
documented = st.lists(
    st.builds(Documented, st.sampled_from([f"m{i}" for i in range(8)]), words, words), min_size=1, max_size=80
)


@given(documented, st.integers(0, 5))
def test_docpairs_are_balanced_and_nothing_leaks(names: list[Documented], seed: int) -> None:
    train, dev = make_pairs(names, seed, 40, 12)
    assert (train, dev) == make_pairs(names, seed, 40, 12)
    for part in (train, dev):
        assert sum(example.label for example in part) * 2 == len(part)
    assert not {e.first for e in train} & {e.first for e in dev}
    assert not {e.second for e in train} & {e.second for e in dev}
    for example in (*train, *dev):
        same_module = [
            item
            for item in names
            if item.name == example.first
            and any(o.module == item.module and o.sentence == example.second for o in names)
        ]
        assert same_module
        if example.label:
            assert any(item.sentence == example.second for item in same_module)


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Compute the mean of x. More.", "Compute the mean of x"),
        ("Like :class:`~torch.nn.Linear`, but ``lazy``.\n\nDetails.", "Like torch.nn.Linear, but lazy"),
        ("Short one.", ""),
        (">>> import this now please", ""),
        ("", ""),
    ],
)
def test_first_sentence(docstring: str, sentence: str) -> None:
    assert first_sentence(docstring) == sentence


def test_gather_parses_without_importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_package"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text('raise RuntimeError("imported")\n')
    (package / "broken.py").write_text("def (:\n")
    (package / "tests" / "a.py").write_text('def hidden():\n    """Not to be found here."""\n')
    (package / "a.py").write_text(
        'class Box:\n    """A box of many things."""\n    def __init__(self, size): ...\n'
        '    def open(self, wide=True, *, slow):\n        """Open the box at once."""\n'
        'def _private():\n    """Not for the public eye."""\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert gather("some_package") == [
        Documented("some_package.a", "Box(size)", "A box of many things"),
        Documented("some_package.a", "Box.open(wide, slow)", "Open the box at once"),
    ]
    assert gather("no_such_package_at_all") == []


def test_docpairs_cache_is_read_checked_and_remade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data.tasks import docpairs

    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path))
    monkeypatch.setattr(docpairs, "SOURCES", {"botorch": "botorch"})
    names = docpairs.documented_names()
    assert len(names) > 500
    monkeypatch.setattr(docpairs, "gather", lambda package: pytest.fail("gathered again"))
    assert docpairs.documented_names() == names
    (cache,) = (tmp_path / "tasks").glob("docpairs-*.json")
    cache.write_text(json.dumps([["module", 3]]))
    monkeypatch.setattr(docpairs, "gather", lambda package: names)
    assert docpairs.documented_names() == names
    assert json.loads(cache.read_text())[0] == list(names[0])
