"""Files of one's own: formats, columns, kinds of labels, what is said, and what is refused with file and row."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataFileError, InputError
from data.tasks import Example, OwnFiles, Task, Wanted, load_files, load_task

Load = Callable[..., Task]
ROWS = [(f"text number {number}", "bad" if number % 3 else "good") for number in range(30)]


def csv_of(header: str, rows: list[tuple[Any, ...]], delimiter: str = ",") -> str:
    """A header as it is, and rows with what needs it quoted."""
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return f"{header}\n{file.getvalue()}"


LABELLED = csv_of("text,label", ROWS)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes files and loads a task from them: ``load({"train.csv": ...}, kind=...)``; the second file is dev."""

    def write(name: str, content: str | bytes) -> Path:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    def run(files: dict[str, str | bytes], *columns: str | None, **options: Any) -> Task:
        paths = [write(name, content) for name, content in files.items()]
        return load_files(OwnFiles(paths[0], *paths[1:], columns=Wanted(*columns), **options))

    return run


def said(task: Task) -> str:
    return "\n".join(task.remarks)


# Formats


def jsonl_of(rows: list[tuple[str, str]]) -> str:
    return "".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in rows)


def parquet_of(columns: dict[str, list[Any]], features: dict[str, Any] | None = None) -> bytes:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


FORMATS: dict[str, Callable[[list[tuple[str, str]]], str | bytes]] = {
    "a.csv": lambda rows: csv_of("text,label", rows),
    "semicolons.csv": lambda rows: csv_of("text;label", rows, ";"),
    "a.tsv": lambda rows: csv_of("text\tlabel", rows, "\t"),
    "a.jsonl": jsonl_of,
    "array.json": lambda rows: json.dumps([{"text": text, "label": label} for text, label in rows]),
    "a.parquet": lambda rows: parquet_of({"text": [row[0] for row in rows], "label": [row[1] for row in rows]}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_task(name: str, load: Load) -> None:
    task = load({name: FORMATS[name](ROWS)}, name="t")
    assert (task.kind, task.label_names, task.metric) == ("classification", ("bad", "good"), "accuracy")
    assert sorted((*task.train, *task.dev), key=str) == sorted(
        (Example(text, None, float(label == "good")) for text, label in ROWS), key=str
    )
    assert task.fingerprint == load({"a.csv": LABELLED}, name="t").fingerprint


nasty = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        st.sampled_from("\"'\n\r\t,;|\u2028\u2029\u0085\u00a0\x0b\x0c\x1c"),
    ),
    min_size=1,
    max_size=20,
).filter(lambda text: text.strip())


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=40)
@given(st.lists(nasty, min_size=10, max_size=15, unique_by=str.strip))
def test_texts_come_back_as_they_were_written(
    name: str, tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    rows = [(text, "ab"[number % 2]) for number, text in enumerate(texts)]
    content = FORMATS[name](rows)
    path = tmp_path_factory.mktemp("own") / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        task = load_files(OwnFiles(path))
    except DataFileError as error:
        # A TSV file may leave open what its quotation marks mean.
        assert name == "a.tsv" and '"' in str(content), error
        return
    if name == "a.tsv" and "part of the texts" in said(task):
        return
    found = {example.first for example in (*task.train, *task.dev) if isinstance(example, Example)}
    assert found == {text.strip() for text in texts}


CONLL = "".join(f"Ann{number} X B-PER\nsleeps X O\n\n" for number in range(12))
edits = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 6), st.binary(max_size=3)), min_size=1, max_size=6)


@pytest.mark.parametrize("name", [*FORMATS, "a.conll"])
@settings(deadline=None, max_examples=40)
@given(edits)
def test_any_damage_is_one_line_or_a_task(
    name: str, tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, bytes]]
) -> None:
    good = FORMATS[name](ROWS[:14]) if name in FORMATS else CONLL
    content = good if isinstance(good, bytes) else good.encode()
    for place, length, new in edits:
        start = place % len(content)
        content = content[:start] + new + content[start + length :] or b"-"
    path = tmp_path_factory.mktemp("own") / name
    path.write_bytes(content)
    try:
        assert load_files(OwnFiles(path)).train
    except InputError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)


def test_quotation_marks_in_tsv_are_text_or_quoting_by_what_the_file_shows(load: Load) -> None:
    header = "text\tlabel\n"
    glue = header + "".join(f'"text" {number} he said\t{"ab"[number % 2]}\n' for number in range(20))
    task = load({"glue.tsv": glue})
    assert '"text" 0 he said' in {example.first for example in (*task.train, *task.dev)}  # type: ignore[union-attr]
    assert "part of the texts" in said(task)
    spread = header + "".join(f'"text {number}\nsaid ""no"""\t{"ab"[number % 2]}\n' for number in range(20))
    task = load({"spread.tsv": spread})
    assert 'text 0\nsaid "no"' in {example.first for example in (*task.train, *task.dev)}  # type: ignore[union-attr]
    assert "read as quoting" in said(task)
    # One open quotation mark in a row, one closing four rows on: both readings are even, and only one loses rows.
    rows = [f"{'ab'[number % 2]}\ttext {number}" for number in range(20)]
    rows[3], rows[7] = 'a\t"text 3', 'b\ttext 7"'
    assert len(load({"open.tsv": "label\ttext\n" + "\n".join(rows)}).train) == 15


# Columns


@pytest.mark.parametrize(
    ("header", "first", "second", "label"),
    [
        ("id,review,stars", "review", None, "stars"),
        ("Premise,Hypothesis,gold_label", "Premise", "Hypothesis", "gold_label"),
        ("question1,question2,is_duplicate", "question1", "question2", "is_duplicate"),
        ("label,Sentence 1,Sentence 2", "Sentence 1", "Sentence 2", "label"),
        ("#1 String,#2 String,Quality", "#1 String", "#2 String", "Quality"),
        ("text,label,label_text", "text", None, "label_text"),
        ("title,text,topic", "text", None, "topic"),
        ("utterance,what", "utterance", None, "what"),
        ("remark_of_customer,label", "remark_of_customer", None, "label"),
        ("tweet_id,airline_sentiment,airline_sentiment_confidence,text", "text", None, "airline_sentiment"),
        ("id,commentText,starRating,when", "commentText", None, "starRating"),
        ("Class Index,Title,Description", "Description", None, "Class Index"),
        ("문장,label", "문장", None, "label"),
    ],
)
def test_columns_are_guessed_from_the_header_and_said(
    header: str, first: str, second: str | None, label: str, load: Load
) -> None:
    names = header.split(",")
    rows = [
        tuple(f"{'xy'[number % 2]}" if name == label else f"{name} {number}" for name in names) for number in range(20)
    ]
    task = load({"a.csv": csv_of(header, rows)})
    assert task.train[0] in {
        Example(f"{first} {n}", f"{second} {n}" if second else None, float(n % 2)) for n in range(20)
    }
    assert task.paired == (second is not None)
    assert repr(first) in said(task)
    assert repr(label) in said(task)
    for name in {*names} - {first, second, label}:
        assert repr(name) in said(task).partition("not read: ")[2]


def test_columns_may_be_named_or_numbered(load: Load) -> None:
    content = csv_of("a,b,c", [(f"one {n}", f"two {n}", "xy"[n % 2]) for n in range(20)])
    assert load({"a.csv": content}, "b", None, "c").train[0].first.startswith("two")  # type: ignore[union-attr]
    assert load({"a.csv": content}, "b", "a", "c").paired
    bare = content.partition("\n")[2]
    task = load({"bare.csv": bare, "dev.csv": bare.replace("two", "three")}, "2", None, "3")
    assert (len(task.train), len(task.dev)) == (20, 20)
    assert "first line is an example" in said(task)
    labels_first = "".join(f"{n % 2},one {n}\n" for n in range(20))
    task = load({"first.csv": "1,one 20\n" + labels_first}, "2", None, "1")
    assert len(task.train) + len(task.dev) == 21
    pandas = load({"pandas.csv": "0,1\n" + labels_first}, "1", None, "0")
    assert len(pandas.train) + len(pandas.dev) == 20
    known = load({"known.csv": LABELLED}, "1", None, "2")
    assert len(known.train) + len(known.dev) == len(ROWS)


def test_a_file_without_an_ending_may_have_tabs(load: Load) -> None:
    content = "".join(f'{"ham" if n % 4 else "spam"}\tGo until {n}, "jurong" point\n' for n in range(40))
    task = load({"SMSSpamCollection": content}, "2", None, "1")
    assert task.label_names == ("ham", "spam")
    assert 'Go until 0, "jurong" point' in {example.first for example in (*task.train, *task.dev)}  # type: ignore[union-attr]


def test_a_header_that_tells_nothing_is_told_what_to_do(load: Load) -> None:
    with pytest.raises(DataFileError, match=r"a\.csv:1: .*--text 1 --label 2"):
        load({"a.csv": LABELLED.partition("\n")[2]})
    with pytest.raises(DataFileError, match=r"a\.csv:1: no column is called text"):
        load({"a.csv": "spam,call this number for a prize now\nham,see you soon\n"})
    with pytest.raises(
        DataFileError, match=r"a\.csv:1: which column is the label\? name it with --label \(columns: 'text', 'a'"
    ):
        load({"a.csv": csv_of("text,a,b", [(f"text {n}", n, "x") for n in range(20)])})
    with pytest.raises(DataFileError, match=r"no column 'txet', did you mean 'text'\?"):
        load({"a.csv": LABELLED}, "txet")
    with pytest.raises(DataFileError, match=r"dev\.csv:1: no column 'label'"):
        load({"a.csv": LABELLED, "dev.csv": "text\nnew\n"})


# Labels


@pytest.mark.parametrize(
    ("labels", "kind", "names", "remark"),
    [
        (["no", "yes", "maybe"], "classification", ("maybe", "no", "yes"), ""),
        (["3", "1", "2.0"], "classification", ("1", "2", "3"), "--kind regression"),
        (["10", "9"], "classification", ("9", "10"), "--kind regression"),
        (["0.5", "1", "2"], "regression", (), "fractions"),
        ([str(number) for number in range(30)], "regression", (), "--kind classification"),
        (["3,5", "1", "2,25"], "regression", (), "decimal commas"),
    ],
)
def test_labels_are_classes_or_numbers(
    labels: list[str], kind: str, names: tuple[str, ...], remark: str, load: Load
) -> None:
    rows = [(f"text {number}", labels[number % len(labels)]) for number in range(60)]
    task = load({"a.csv": csv_of("text,label", rows)})
    assert (task.kind, task.label_names) == (kind, names)
    assert remark in said(task)


def test_the_kind_may_be_chosen(load: Load) -> None:
    stars = csv_of("text,stars", [(f"text {number}", number % 5) for number in range(60)])
    task = load({"a.csv": stars}, kind="regression", metric="spearman")
    assert (task.kind, task.metric, task.labels) == ("regression", "spearman", 1)
    with pytest.raises(DataFileError, match=r"a\.csv:2: label 'good' is no number"):
        load({"a.csv": LABELLED}, kind="regression")
    with pytest.raises(InputError, match="pearson, spearman"):
        load({"a.csv": stars}, kind="regression", metric="f1")
    with pytest.raises(InputError, match="accuracy, f1, matthews"):
        load({"a.csv": LABELLED}, metric="bleu")


def test_truth_values_and_class_labels_keep_their_names(load: Load) -> None:
    lines = "".join(json.dumps({"text": f"t {n}", "label": n % 2 == 0}) + "\n" for n in range(20))
    assert load({"a.jsonl": lines}).label_names == ("false", "true")
    columns = {"text": [f"t {n}" for n in range(20)], "label": [n % 2 for n in range(20)]}
    features = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}
    task = load({"a.parquet": parquet_of(columns, features)})
    assert task.label_names == ("neg", "pos")
    assert {(e.first, e.label) for e in task.train} <= {(f"t {n}", float(n % 2)) for n in range(20)}  # type: ignore[union-attr]


def test_names_of_numbers_may_be_given(load: Load) -> None:
    content = csv_of("text,label", [(f"t {n}", n % 2) for n in range(20)])
    assert load({"a.csv": content}, labels=("neg", "pos")).label_names == ("neg", "pos")
    assert load({"a.csv": LABELLED}, labels=("good", "bad")).label_names == ("good", "bad")
    ordered = load({"a.csv": LABELLED}, labels=("good", "bad"), metric="f1")
    assert "f1 is that of 'bad'" in said(ordered)
    with pytest.raises(InputError, match=r"names of labels are given \(a, b\), but the kind is regression"):
        load({"a.csv": content}, labels=("a", "b"), kind="regression")
    with pytest.raises(DataFileError, match=r"a\.csv:2: label 'good' is none of bad, ugly"):
        load({"a.csv": LABELLED}, labels=("bad", "ugly"))


# Sentence embeddings


def test_pairs_with_scores_may_be_similarity(load: Load) -> None:
    content = csv_of("sentence1,sentence2,score", [(f"a {n}", f"b {n}", n % 5 / 2) for n in range(40)])
    task = load({"a.csv": content}, kind="similarity")
    assert (task.kind, task.metric, task.label_names, task.paired) == ("similarity", "spearman", (), True)
    assert not task.unlabelled


def test_texts_alone_are_plain_sentences(load: Load) -> None:
    task = load({"a.csv": csv_of("text", [(f"sentence {n}",) for n in range(40)])})
    assert task.kind == "similarity"
    assert "kind similarity" in said(task)
    assert task.unlabelled
    lines = load({"a.txt": "".join(f"a sentence, {n}\n" for n in range(40))}, kind="similarity")
    assert all(math.isnan(example.label) and example.second is None for example in lines.train)  # type: ignore[union-attr]
    scored = csv_of("sentence1,sentence2,score", [(f"a {n}", f"b {n}", n % 5 / 2) for n in range(40)])
    judged = load({"a.txt": "".join(f"a sentence, {n}\n" for n in range(40)), "dev.csv": scored}, kind="similarity")
    assert (len(judged.train), len(judged.dev), judged.unlabelled) == (40, 40, False)
    with pytest.raises(InputError, match="--kind similarity"):
        load({"a.txt": "a sentence\nanother\n"})
    with pytest.raises(DataFileError, match="without a column of labels"):
        load({"a.csv": csv_of("sentence1,sentence2", [("a", "b"), ("c", "d")])})


# Dev


def test_dev_is_a_tenth_of_train_where_there_is_none(load: Load) -> None:
    rows = [(f"text {number}", "rare" if number % 10 == 0 else "common") for number in range(3000)]
    task = load({"a.csv": csv_of("text,label", rows)})
    assert len(task.dev) == 300
    assert sum(example.label for example in task.dev) == 30  # type: ignore[union-attr]
    assert "300 of 3000 examples are set aside" in said(task)
    many = [(f"text {number}", "ab"[number % 2]) for number in range(30000)]
    assert len(load({"a.csv": csv_of("text,label", many)}).dev) == 2000


def test_what_is_set_aside_has_no_text_of_train(load: Load) -> None:
    rows = [(f"text {number % 40}", "ab"[number % 2]) for number in range(200)]
    task = load({"a.csv": csv_of("text,label", rows)})
    assert len(task.train) + len(task.dev) == 200
    assert not {e.first for e in task.train} & {e.first for e in task.dev}  # type: ignore[union-attr]


# What is wrong

TOO_LONG = "x" * 1_000_001


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "", r"a\.csv: the file is empty"),
        ("a.csv", "\n \n", r"a\.csv: the file is empty"),
        ("a.csv", "text,label\n", r"a\.csv: no examples: nothing follows the header"),
        ("a.csv", "text,label\na,x\nb,\nc,y\n", r"a\.csv:3: no label"),
        ("a.csv", "text,label\na,x\n ,y\nc,y\n", r"a\.csv:3: empty text"),
        ("a.csv", "text,label\n,x\n,y\n", r"a\.csv:2: empty text \(and 1 more"),
        ("a.csv", "text,label\na,x\nb,x\n", r"a\.csv: all examples have the same label, 'x'"),
        ("a.csv", "text,label\na,1.5\nb,1.5\n", r"a\.csv: all examples have the same label, '1.5'"),
        ("a.csv", "text,label\na,1.5\nb,NaN\n", r"a\.csv:3: label 'NaN' is not a finite number"),
        ("a.csv", "text,label\na,1.5\nb,-inf\n", r"a\.csv:3: label '-inf' is not a finite number"),
        ("a.csv", "text,label\n" + "a,1\nb,2\n" * 9 + "c,x\n", r"a\.csv:20: label 'x' is no number, as others"),
        ("a.csv", b"text,label\na,x\ncaf\xe9,y\n", r"a\.csv:3: not UTF-8 text \(byte 0xe9\)"),
        ("a.csv", b"\xef\xbb\xbftext,label\na,x\ncaf\xe9,y\n", r"a\.csv:3: not UTF-8 text \(byte 0xe9\)"),
        ("a.csv", "text,label\na,x\n".encode("utf-16"), r"a\.csv: UTF-16"),
        ("a.csv", "text,label\na,x\n".encode("utf-16-le"), r"a\.csv:1: a NUL byte"),
        ("a.csv", "text,label\na,x\nb\0,y\n", r"a\.csv:3: a NUL byte"),
        ("a.csv", "text,label,text\na,x,b\n", r"a\.csv:1: two columns are called 'text'"),
        ("a.csv", "text,label\na,x\nb,c,y\n", r"a\.csv:3: 3 columns, expected 2"),
        ("a.csv", "text\na, x\nb, c\n", r"a\.csv:2: 2 columns, expected 1 \(a text that holds the delimiter"),
        ("a.csv", 'text,label\na,x\n"b,y\nc,y\n', r"a\.csv:3: a quotation mark that opens here is never closed"),
        ("a.csv", 'text,label\na,x\n"b"c,y\n', r"a\.csv:3: quotation marks do not match"),
        ("a.csv", f'text,label\na,x\n"{TOO_LONG}",y\n', r"a\.csv:3: a cell of more than 1000000 characters"),
        ("a.tsv", f"text\tlabel\na\tx\n{TOO_LONG}\ty\n", r"a\.tsv:3: a text of 1000001 characters"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b"\n', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n["b"]\n', r"a\.jsonl:2: not an object"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b"}\n', r"a\.jsonl:2: no label"),
        ("a.jsonl", '{"text": "a", "text": "b", "label": 1}\n', r"a\.jsonl:1: .*a key occurs twice"),
        ("a.jsonl", '{"text": "a", "label": NaN}\n', r"a\.jsonl:1: label 'nan' is not a finite number"),
        ("a.jsonl", '{"text": "\\ud800", "label": 1}\n', r"a\.jsonl:1: half of a surrogate pair"),
        ("a.jsonl", '{"text": 3, "label": 1}\n', r"a\.jsonl:1: 3 where a text is expected"),
        ("a.jsonl", '{"text": "a", "label": ["x", "y"]}\n', r"a\.jsonl:1: the label is a list"),
        ("a.json", '[{"text": "a"},\n {"text": }]', r"a\.json:2: not JSON"),
        ("a.parquet", b"PAR1 and no more", r"a\.parquet: not a Parquet file"),
        ("a.parquet", b"text,label\n", r"a\.parquet: not a Parquet file"),
        ("a.csv.gz", b"\x1f\x8b\x08\x00", r"a\.csv\.gz: packed with gzip"),
        ("a.xlsx", b"PK\x03\x04", r"a\.xlsx: a workbook"),
        (
            "a.csv",
            csv_of("text,price", [("a", "1,000"), ("b", "2,500")]),
            r"a\.csv:2: is label '1,000' a thousand times",
        ),
        ("a.csv", csv_of("text,label", [(f"t {n}", f"label {n}") for n in range(60)]), r"a\.csv: 60 different labels"),
    ],
)
def test_what_cannot_be_learnt_from_is_named_by_file_and_row(
    name: str, content: str | bytes, problem: str, load: Load
) -> None:
    with pytest.raises(DataFileError, match=problem) as caught:
        load({name: content})
    assert "\n" not in str(caught.value)


def test_folders_and_missing_files_are_named(tmp_path: Path, load: Load) -> None:
    with pytest.raises(InputError, match="is a folder"):
        load_files(OwnFiles(tmp_path))
    with pytest.raises(InputError, match="cannot read"):
        load_files(OwnFiles(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="2 different training texts are too few"):
        load({"a.csv": "text,label\na,x\nb,y\n"})


def test_parquet_without_pyarrow_says_what_to_install(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    content = FORMATS["a.parquet"](ROWS)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pocketbert\[parquet\]"):
        load({"a.parquet": content})


def test_labels_of_dev_are_those_of_train(load: Load) -> None:
    with pytest.raises(DataFileError, match=r"dev\.csv:3: label 'neutral' does not occur in a\.csv"):
        load({"a.csv": LABELLED, "dev.csv": "text,label\nnew,good\nother,neutral\n"})
    stars = csv_of("text,stars", [(f"text {n}", n % 2) for n in range(20)])
    assert load({"a.csv": stars, "dev.csv": "text,stars\nnew,1.0\nold,0\n"}).dev[0].label == 1.0  # type: ignore[union-attr]


def test_a_few_bad_rows_among_many_are_left_out_and_said(load: Load) -> None:
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(300)]
    task = load({"a.csv": csv_of("text,label", rows) + "only text\n,a\n"})
    assert len(task.train) + len(task.dev) == 300
    assert "2 of 302 rows cannot be used and are left out, first 302: 1 columns, expected 2" in said(task)


def test_rows_without_an_agreed_label_are_left_out_and_said(load: Load) -> None:
    rows = [(f"p {n}", f"h {n}", ("entailment", "neutral", "-")[n % 3]) for n in range(60)]
    task = load({"a.csv": csv_of("premise,hypothesis,gold_label", rows)})
    assert task.label_names == ("entailment", "neutral")
    assert "20 rows without an agreed label" in said(task)


@pytest.mark.parametrize(
    ("train", "dev", "remark"),
    [
        (LABELLED + "text number 4,bad\n", "", "1 of 31 examples repeat an earlier one, first in rows 6 and 32"),
        (LABELLED + "text number 4,good\n", "", "another label, first in rows 6 and 32"),
        (LABELLED + "new,rare\n", "", "a.csv: one example each of the classes 'rare'"),
        (LABELLED + "new,Good\nnewer,Good\n", "", "'Good', 'good' are taken as different classes"),
        (LABELLED, "text,label\nnew,good\ntext number 4,bad\n", "1 of 2 texts are in train too"),
        (LABELLED, "text,label\nnew,good\nnewer,good\n", "dev has no example of 'bad'"),
        (LABELLED, "text,label\nnew,good\nnewer,bad\n", "dev has 2 examples: chance alone"),
        (LABELLED.replace("\n", "\r\n") + "one more,bad\n", "", "lines end in CR LF, 1 in LF alone"),
        (LABELLED.replace(",", ";"), "", "separated by semicolons"),
        (LABELLED.replace(",", "\t"), "", "separated by tabs"),
    ],
)
def test_what_is_doubtful_is_said(train: str, dev: str, remark: str, load: Load) -> None:
    assert remark in said(load({"a.csv": train} | ({"dev.csv": dev} if dev else {})))


@pytest.mark.parametrize("columns", [("text", "text", "label"), ("text", None, "text"), ("text", "label", "label")])
def test_one_column_is_not_two_things(columns: tuple[str | None, ...], load: Load) -> None:
    with pytest.raises(DataFileError, match="cannot be two of text, second text and label"):
        load({"a.csv": LABELLED}, *columns)


def test_a_dev_file_that_is_train_is_refused(load: Load) -> None:
    with pytest.raises(DataFileError, match=r"dev\.csv:2: all 30 examples are in the training file too"):
        load({"a.csv": LABELLED, "dev.csv": LABELLED})


# task.toml


def test_a_task_file_holds_it_all(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = [(n, f"one {n}", f"two {n}", n % 2) for n in range(40)]
    (tmp_path / "data" / "a.csv").write_text(csv_of("id,first,second,verdict", rows))
    path = tmp_path / "task.toml"
    path.write_text(
        'name = "verdicts"\ntrain = "data/a.csv"\nmetric = "matthews"\ntext = "first"\ntext_pair = "second"\n'
        'label = "verdict"\nlabels = ["no", "yes"]\n'
    )
    task = load_task(str(path))
    assert (task.name, task.metric, task.label_names, task.paired) == ("verdicts", "matthews", ("no", "yes"), True)
    with pytest.raises(InputError, match="say kind and metric there"):
        load_task(str(path), metric="f1")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("name = 'a'\n", "no key 'train'"),
        ("train = 'a.csv'\ntrian = 'b.csv'\n", r"unknown key 'trian' \(known: train, dev, name, "),
        ("train = 'a.csv'\nkind = 'ranking'\n", "kind: "),
        ("train = 3\n", "train: "),
        ("train = \n", "not TOML"),
    ],
)
def test_a_task_file_with_mistakes_is_named(content: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(content)
    with pytest.raises(DataFileError, match=problem) as caught:
        load_task(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_task_is_called_after_its_file_or_folder(tmp_path: Path) -> None:
    folder = tmp_path / "complaints"
    folder.mkdir()
    for name in ("train.csv", "reviews.csv"):
        (folder / name).write_text(LABELLED)
    assert load_files(OwnFiles(folder / "train.csv")).name == "complaints"
    assert load_files(OwnFiles(folder / "reviews.csv")).name == "reviews"
