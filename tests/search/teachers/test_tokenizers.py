"""Tokenizers of every family: kept as they are, refused by name where they are not the model's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertForTokenClassification, BertModel, BertTokenizer

from data.errors import InputError
from data.tasks import Example, TaggedWords, Task
from search.learning.encoding import encode
from search.teachers.families import with_head
from search.teachers.source import LoadedTeacher, load_teacher, resolve_teacher, sample_texts
from tests.search.teachers.pretrained import FAMILIES, PAIRS, TEXTS, save_pretrained, word_pieces

EXAMPLE = Example(*PAIRS[0], 0.0)
Edit = Callable[[Path], object]


def load(folder: Path, **settings: Any) -> LoadedTeacher:
    return load_teacher(folder, PAIRS, 32, **settings)


def changed(name: str, **values: Any) -> Edit:
    """Sets values of a JSON file; those that are None are removed."""

    def edit(folder: Path) -> None:
        old = json.loads((folder / name).read_text())
        new = {key: value for key, value in (old | values).items() if value is not None}
        (folder / name).write_text(json.dumps(new))

    return edit


@pytest.mark.parametrize("name", FAMILIES)
def test_ids_are_those_of_the_familys_own_tokenizer(name: str, tmp_path: Path) -> None:
    save_pretrained(name, tmp_path)
    loaded, own = load(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    for first, second in PAIRS:
        assert loaded.tokenizer(first)["input_ids"] == own(first)["input_ids"]
        assert loaded.tokenizer(first, second)["input_ids"] == own(first, second)["input_ids"]
    config = loaded.encoder.model.config
    assert config.pad_token_id == own.pad_token_id
    foreign = {"roberta": "RobertaTokenizer", "albert": "AlbertTokenizer", "camembert": "CamembertTokenizer"}
    assert config.tokenizer_class == foreign.get(name.split(" ")[0])


@pytest.mark.parametrize(("name", "types"), [("distilbert", 1), ("roberta", 1), ("bert", 2), ("albert", 2)])
def test_pairs_have_the_types_that_the_model_tells_apart(name: str, types: int, tmp_path: Path) -> None:
    save_pretrained(name, tmp_path)
    encoded = encode(load(tmp_path).tokenizer, (EXAMPLE,), "classification", 32)
    assert sorted(set(encoded.types.tolist())) == list(range(types))
    assert len(encoded.types) == len(encoded.tokens)


def test_a_tokenizer_of_other_words_of_the_family_named_nowhere(tmp_path: Path) -> None:
    """Old folders say nothing of a class, which is then the family's."""
    save_pretrained("roberta", tmp_path)
    expected = AutoTokenizer.from_pretrained(tmp_path)(list(TEXTS))["input_ids"]
    model = json.loads((tmp_path / "tokenizer.json").read_text())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    loaded = load(tmp_path)
    assert loaded.tokenizer(list(TEXTS))["input_ids"] == expected
    assert loaded.encoder.model.config.tokenizer_class == "RobertaTokenizer"


@pytest.mark.parametrize("name", ["roberta", "xlm-roberta", "bert"])
def test_words_are_words_also_when_read_again(name: str, tmp_path: Path) -> None:
    save_pretrained(name, tmp_path / "source")
    loaded = load(tmp_path / "source", head="tokens")
    model = with_head(BertForTokenClassification, loaded.encoder, num_labels=3)
    model.save_pretrained(tmp_path / "saved")
    loaded.tokenizer.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    for text in TEXTS:
        words = again(text.split(), is_split_into_words=True)["input_ids"]
        assert words == AutoTokenizer.from_pretrained(tmp_path / "source")(f" {text}")["input_ids"]


def test_what_was_saved_can_be_a_teacher_again(tmp_path: Path) -> None:
    save_pretrained("roberta", tmp_path / "source")
    loaded = load(tmp_path / "source")
    loaded.encoder.model.save_pretrained(tmp_path / "saved")
    loaded.tokenizer.save_pretrained(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.encoder.family == "bert"
    assert again.tokenizer(list(TEXTS)).data == loaded.tokenizer(list(TEXTS)).data
    assert again.remarks == ()


def without(*names: str) -> Edit:
    return lambda folder: [(folder / name).unlink(missing_ok=True) for name in names]


def upper_case(folder: Path) -> None:
    """As where tokenizer.json is of a cased model, and no setting says so."""
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    document["normalizer"]["lowercase"] = False
    path.write_text(json.dumps(document))


def other_vocabulary(folder: Path) -> None:
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "vocab.json").write_text(json.dumps({word: number ^ 1 for word, number in vocabulary.items()}))


def sentence_pieces_alone(folder: Path) -> None:
    without("tokenizer.json", "tokenizer_config.json")(folder)
    (folder / "spiece.model").write_bytes(b"\x0a")


def class_of(name: str) -> Edit:
    return changed("tokenizer_config.json", tokenizer_class=name)


BAD: Mapping[str, tuple[str, Edit, str]] = {
    "word pieces for RoBERTa": ("roberta", class_of("BertTokenizerFast"), "BertTokenizer, not one of roberta's"),
    "byte pairs for a BERT": ("bert", class_of("RobertaTokenizer"), "RobertaTokenizer, not one of bert's"),
    "word pieces for ALBERT": ("albert", class_of("BertTokenizer"), r"not one of albert's \(AlbertTokenizer\)"),
    "another model's": ("distilbert", class_of("T5TokenizerFast"), "T5Tokenizer, not one of distilbert's"),
    "no class of transformers": ("electra", class_of("MyTokenizer"), "MyTokenizer, unknown to transformers"),
    "code of its own": (
        "bert",
        changed("tokenizer_config.json", auto_map={"AutoTokenizer": ["code.Tokenizer", None]}),
        "code of its own .*never run",
    ),
    "code of its own, named as of old": (
        "bert",
        changed("tokenizer_config.json", auto_map=["code.Tokenizer", None]),
        "code of its own .*never run",
    ),
    "two vocabularies": ("roberta", other_vocabulary, r"by tokenizer\.json, \d+ by vocab\.json"),
    "case": ("bert", upper_case, r"other tokens of \d of \d+ texts, such as 'The blue.*PreTrainedTokenizerFast"),
    "another padding": (
        "roberta",
        changed("tokenizer_config.json", pad_token="<mask>"),
        "pads with token 4, pad_token_id in config.json is 1",
    ),
    "SentencePiece alone": ("albert", sentence_pieces_alone, "SentencePiece model alone, and sentencepiece is not"),
    "no files": ("xlm-roberta", without("tokenizer.json", "tokenizer_config.json"), "no tokenizer"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_tokenizer_that_is_not_the_models_is_refused(name: str, tmp_path: Path) -> None:
    family, edit, problem = BAD[name]
    save_pretrained(family, tmp_path)
    edit(tmp_path)
    with pytest.raises(InputError, match=problem) as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_class_that_the_model_names_itself_is_taken_at_its_word(tmp_path: Path) -> None:
    save_pretrained("roberta", tmp_path)
    vocabulary = dict(word_pieces())
    tokenizer = BertTokenizer(vocabulary)
    tokenizer.save_pretrained(tmp_path)
    changed("config.json", tokenizer_class="BertTokenizer", pad_token_id=0)(tmp_path)
    assert type(load(tmp_path).tokenizer).__name__ == "BertTokenizer"


def test_a_tokenizer_as_its_file_has_it(tmp_path: Path) -> None:
    save_pretrained("bert", tmp_path)
    upper_case(tmp_path)
    class_of("PreTrainedTokenizerFast")(tmp_path)
    tokenizer = load(tmp_path).tokenizer
    assert tokenizer("The")["input_ids"] != tokenizer("the")["input_ids"]


def test_what_may_be_wrong_is_remarked(tmp_path: Path) -> None:
    save_pretrained("bert", tmp_path, vocab_size=200)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    class_of("PreTrainedTokenizerFast")(tmp_path)
    told = " ".join(load(tmp_path).remarks)
    assert f"no token for {200 - len(word_pieces())} of the model's 200 word embeddings" in told
    assert "no special token first" in told


def test_words_that_a_tokenizer_does_not_know_are_counted(tmp_path: Path) -> None:
    save_pretrained("bert", tmp_path)
    (told,) = load_teacher(tmp_path, [("a red cat", "no hen is pink \u20ac")], 32).remarks
    assert told == "its tokenizer does not know 1 of 11 tokens of the task's texts"
    with pytest.raises(InputError, match=r"does not know 3 of 4 tokens.*another language"):
        load_teacher(tmp_path, [("\u20ac \u20ac a \u20ac", None)], 32)


def test_too_few_positions_are_told_at_once(tmp_path: Path) -> None:
    save_pretrained("roberta", tmp_path)
    assert load_teacher(tmp_path, PAIRS, 62)
    with pytest.raises(InputError, match="seq-len 63 exceeds the teacher's 62 positions"):
        load_teacher(tmp_path, PAIRS, 63)


@pytest.mark.parametrize(
    ("mode", "told"), [("pooling_mode_mean_tokens", None), ("pooling_mode_cls_token", "pooled by cls")]
)
def test_a_sentence_folders_other_pooling_is_told(mode: str, told: str | None, tmp_path: Path) -> None:
    save_pretrained("bert", tmp_path)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    described = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (tmp_path / "modules.json").write_text(json.dumps(described))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 48, mode: True}))
    remarks = load(tmp_path, head="embedding").remarks
    assert any(told in remark for remark in remarks) if told else remarks == ()
    assert load(tmp_path).remarks == ()


def test_a_sample_is_text_whatever_the_task() -> None:
    words = (TaggedWords(("a", "red", "cat"), (0, 0, 1)),)
    assert sample_texts(Task("tags", "tokens", ("O", "B-X"), "entity_f1", words, words)) == [("a red cat", None)]
    sentences = (EXAMPLE, Example("no hen", None, float("nan")))
    found = sample_texts(Task("alike", "similarity", (), "spearman", sentences, sentences))
    assert found == [(PAIRS[0][0], None), (PAIRS[0][1], None), ("no hen", None)]
    pairs = (EXAMPLE,)
    assert sample_texts(Task("pairs", "classification", ("no", "yes"), "f1", pairs, pairs)) == [PAIRS[0]]


def test_the_default_teacher_is_taken_as_it_is() -> None:
    source = resolve_teacher(None)
    loaded = load_teacher(source, PAIRS, 128, head="embedding")
    assert (loaded.remarks, loaded.encoder.classifier, loaded.encoder.family) == ((), None, "bert")
    assert loaded.encoder.model.config.tokenizer_class is None
    batch = loaded.tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        own = BertModel.from_pretrained(source, attn_implementation="eager")(**batch)
        found = loaded.encoder.model(**batch)
    assert torch.equal(found.last_hidden_state, own.last_hidden_state)
    assert torch.equal(found.pooler_output, own.pooler_output)


def test_a_few_texts_cut_otherwise_are_remarked(tmp_path: Path) -> None:
    """As with multilingual MiniLMs, whose file keeps a space at the end of a text, and whose class drops it."""
    save_pretrained("multilingual bert", tmp_path)
    path = tmp_path / "tokenizer.json"
    spaces = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pre_tokenizer": spaces}))
    texts = [("a red cat", "no hen is pink")] * 20
    assert load_teacher(tmp_path, texts, 32).remarks == ()
    (told,) = load_teacher(tmp_path, [*texts, ("cows  and cats", "a hen ")], 32).remarks
    assert "other tokens of 2 of 42 texts, such as 'cows  and cats'" in told
    with pytest.raises(InputError, match="2 of 2 texts"):
        load_teacher(tmp_path, [("cows  and cats", "a hen ")], 32)
