"""Named entities: CoNLL files and lists in tables, in any scheme of tags."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from data.errors import DataFileError
from data.tasks import OwnFiles, TaggedWords, Task, Wanted, load_files
from data.tasks.own.tags import Sentence, to_iob2

NAMES = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def load(folder: Path, content: str, name: str = "a.conll", **options: object) -> Task:
    (folder / name).write_text(content, encoding="utf-8")
    return load_files(OwnFiles(folder / name, **options))  # type: ignore[arg-type]


def sentences(tags: str, words: str = "Ann Lee of Rome sleeps", count: int = 20) -> str:
    """The same tagged words over and over, each time with another name."""
    pairs = list(zip(words.split(), tags.split(), strict=True))
    return "".join("".join(f"{word}{n} X {tag}\n" for word, tag in pairs) + "\n" for n in range(count))


IOB2 = "B-PER I-PER O B-LOC O"


@pytest.mark.parametrize(
    ("tags", "remark"),
    [
        (IOB2, ""),
        ("I-PER I-PER O I-LOC O", "IOB1, converted to IOB2"),
        ("B-PER E-PER O S-LOC O", "BIOES, converted to IOB2"),
        ("B-PER L-PER O U-LOC O", "BILOU, converted to IOB2"),
        ("B-PER I-PER O I-LOC O", "20 entities begin with I-"),
        ("PER PER O LOC O", "no prefixes"),
    ],
)
def test_every_scheme_becomes_iob2(tags: str, remark: str, tmp_path: Path) -> None:
    task = load(tmp_path, sentences(tags), kind="tokens")
    assert (task.kind, task.label_names, task.metric) == ("tokens", NAMES, "entity_f1")
    assert all(isinstance(each, TaggedWords) and each.tags == (3, 4, 0, 1, 0) for each in (*task.train, *task.dev))
    assert any(remark in each for each in task.remarks)
    assert remark or not any("IOB" in each or "begin" in each for each in task.remarks)


def test_neighbours_of_one_type_stay_apart() -> None:
    tags = ("I-PER", "B-PER", "I-PER", "I-LOC")
    (converted,), _ = to_iob2(Path("a"), [Sentence(1, ("a",) * 4, tags)])
    assert converted.tags == ("B-PER", "B-PER", "I-PER", "B-LOC")


@given(st.lists(st.sampled_from([f"{prefix}-{kind}" for prefix in "BIES" for kind in "AB"] + ["O"]), min_size=1))
def test_conversion_keeps_the_entities_that_seqeval_sees(tags: list[str]) -> None:
    if not any(tag != "O" for tag in tags):
        return
    (converted,), _ = to_iob2(Path("a"), [Sentence(1, ("w",) * len(tags), tuple(tags))])
    assert get_entities(list(converted.tags)) == get_entities(tags)
    assert {tag[0] for tag in converted.tags} <= {"B", "I", "O"}


def test_marks_and_comments_are_no_words(tmp_path: Path) -> None:
    head = "-DOCSTART- -X- O\n\n# text = Ann Lee of Rome sleeps\n"
    task = load(tmp_path, head + sentences(IOB2) + "#\tO\n#tag\tB-PER\n")
    everything = [each for each in (*task.train, *task.dev) if isinstance(each, TaggedWords)]
    assert len(everything) == 21
    assert ("#", "#tag") in {each.words for each in everything}
    assert any("1 lines of comments" in remark for remark in task.remarks)


def test_words_may_hold_any_separator_but_blanks(tmp_path: Path) -> None:
    content = sentences(IOB2).replace("Ann", "An\u2028n\u00a0")
    assert load(tmp_path, content).train[0].words[0].startswith("An\u2028n\u00a0")  # type: ignore[union-attr]


word = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n\r\t"), min_size=1, max_size=6).map(
    str.strip
)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(word.filter(bool), min_size=1, max_size=4), min_size=10, max_size=12, unique_by=tuple))
def test_words_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, texts: list[list[str]]) -> None:
    texts = [each for each in texts if each[0] != "-DOCSTART-"]
    content = "".join(
        "".join(f"{each}\t{'OB'[n % 2]}{'-X' * (n % 2)}\n" for n, each in enumerate(text)) + "\n" for text in texts
    )
    if "B-X" not in content or len(texts) < 10:
        return
    task = load(tmp_path_factory.mktemp("own"), content)
    assert {each.words for each in (*task.train, *task.dev)} == {tuple(text) for text in texts}  # type: ignore[union-attr]


def test_lists_in_tables(tmp_path: Path) -> None:
    def lines(tags: list[object]) -> str:
        rows = ({"id": n, "tokens": [f"Ann{n}", "Lee", "sleeps"], "ner_tags": tags} for n in range(20))
        return "".join(json.dumps(row) + "\n" for row in rows)

    named = load(tmp_path, lines(["B-PER", "I-PER", "O"]), "a.jsonl")
    assert named.label_names == ("O", "B-PER", "I-PER")
    numbered = load(tmp_path, lines([1, 2, 0]), "a.jsonl", labels=("O", "B-PER", "I-PER"), kind="tokens")
    assert numbered.train == named.train
    with pytest.raises(DataFileError, match=r"a\.jsonl:1: .*task\.toml names them"):
        load(tmp_path, lines([1, 2, 0]), "a.jsonl")
    with pytest.raises(DataFileError, match=r"a\.jsonl:1: tags B-PER, I-PER, O are not all among the names given"):
        load(tmp_path, lines(["B-PER", "I-PER", "O"]), "a.jsonl", labels=("O", "B-LOC"))
    with pytest.raises(DataFileError, match="names of labels are for tags that are numbers"):
        load(tmp_path, sentences(IOB2), labels=("O", "B-LOC"))
    with pytest.raises(DataFileError, match="tagged words have no second text"):
        load(tmp_path, sentences(IOB2), columns=Wanted(None, "2", None))
    with pytest.raises(DataFileError, match=r"a\.jsonl:1: 3 words and 2 tags"):
        load(tmp_path, lines(["O", "B-PER"]), "a.jsonl")


def test_a_dev_file_may_be_of_another_scheme_but_not_of_other_types(tmp_path: Path) -> None:
    (tmp_path / "dev.conll").write_text(sentences("B-PER E-PER O S-LOC O", "Eve Fox of Bonn runs"))
    task = load(tmp_path, sentences(IOB2), dev=tmp_path / "dev.conll")
    assert len(task.train) == len(task.dev) == 20
    (tmp_path / "dev.conll").write_text(sentences("B-PER I-PER O B-ORG O", "Eve Fox of Bonn runs"))
    with pytest.raises(DataFileError, match=r"dev\.conll:1: entities of type 'ORG' do not occur in a\.conll"):
        load(tmp_path, sentences(IOB2), dev=tmp_path / "dev.conll")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (sentences(IOB2, count=1) + "Ann\n", r"a\.conll:7: a word without a tag"),
        (sentences(IOB2, count=1) + "Ann X PER\n", r"a\.conll:7: tag 'PER' is neither O nor"),
        (sentences("NOUN VERB ADP NOUN VERB"), r"a\.conll:1: tags without O name no entities"),
        (sentences("O O O O O"), r"a\.conll: every tag is O"),
    ],
)
def test_what_is_no_tagged_text_is_named(content: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=problem):
        load(tmp_path, content, kind="tokens")


def test_words_may_be_numbered_and_have_a_header(tmp_path: Path) -> None:
    lines = "".join(f"1\tAnn{n}\tB-PER\tO\n2\tsleeps\tO\tO\n\n" for n in range(20))
    task = load(tmp_path, f"nr\tword\touter\tinner\n{lines}", kind="tokens", columns=Wanted(None, None, "3"))
    assert task.train[0] == TaggedWords(("Ann0", "sleeps"), (1, 0))
    assert any("line 1 is taken as a header" in remark for remark in task.remarks)
    assert any("first column numbers the words" in remark for remark in task.remarks)
    last = load(tmp_path, lines.replace("\tO\tO", "\tO\tB-LOC"))
    assert last.train[0] == TaggedWords(("Ann0", "sleeps"), (0, 1))
    assert any("there are others in column 3 (--label 3)" in remark for remark in last.remarks)
    with pytest.raises(DataFileError, match="no column 'outer': those of a CoNLL file are numbered"):
        load(tmp_path, lines, kind="tokens", columns=Wanted(None, None, "outer"))


def test_a_table_may_have_a_word_a_row(tmp_path: Path) -> None:
    rows = "".join(f'Sentence: {n},Ann{n},NNP,B-PER\n,"said, so",VB,O\n' for n in range(20))
    task = load(tmp_path, f"Sentence #,Word,POS,Tag\n{rows}", "a.csv")
    assert task.kind == "tokens"
    assert task.train[0] == TaggedWords(("Ann0", "said, so"), (1, 0))
    assert any("a word a row: words from 'Word', tags from 'Tag'" in remark for remark in task.remarks)
    senses = "".join(f"bank,the bank number {n},{'ab'[n % 2]}\n" for n in range(20))
    assert load(tmp_path, f"word,sentence,label\n{senses}", "b.csv").kind == "classification"


@pytest.mark.parametrize("kind", ["Sequence", "List", "list"])
def test_names_of_tags_come_with_parquet(kind: str, tmp_path: Path) -> None:
    table = pyarrow.table({"tokens": [[f"Ann{n}", "sleeps"] for n in range(20)], "ner_tags": [[1, 0]] * 20})
    names = {"names": ["O", "B-PER"], "_type": "ClassLabel"}
    feature = [names] if kind == "list" else {"feature": names, "_type": kind}
    noted = json.dumps({"info": {"features": {"ner_tags": feature}}})
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": noted}), tmp_path / "a.parquet")
    task = load_files(OwnFiles(tmp_path / "a.parquet"))
    assert task.label_names == ("O", "B-PER", "I-PER")
    assert task.train[0] == TaggedWords(("Ann0", "sleeps"), (1, 0))
