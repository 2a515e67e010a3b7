"""Teachers as people bring them: what is taken, and what is refused by name before any training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel, BertTokenizerFast

from data.errors import InputError
from data.tasks import Example, Task
from search.teachers.source import check_teacher, content_hash, load_teacher, resolve_teacher, sample_texts

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "green", "cat", "dog", "cow", "a")
PAIRS = tuple(Example(f"a red {animal}", f"a {animal}", float(animal == "cat")) for animal in ("cat", "dog", "cow"))
TASK = Task("pairs", "classification", ("no", "yes"), "accuracy", PAIRS, PAIRS)
LAYER = "encoder.layer.1.output.dense.weight"

Edit = Callable[[Path], object]


def save_source(folder: Path, kind: type = BertModel, **settings: object) -> Path:
    """A BERT of two layers with its tokenizer."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    save = {"max_shard_size": settings.pop("max_shard_size", "5GB")}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes | settings)  # type: ignore[arg-type]
        kind(config).save_pretrained(folder, **save)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_source(tmp_path_factory.mktemp("original"))


@pytest.fixture
def source(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "source"))


def write(name: str, text: str) -> Edit:
    return lambda folder: (folder / name).write_text(text)


def merge(name: str, **values: object) -> Edit:
    return lambda folder: (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | values))


def tensors(edit: Callable[[dict[str, torch.Tensor]], object]) -> Edit:
    def change(folder: Path) -> None:
        stored = load_file(folder / "model.safetensors")
        edit(stored)
        save_file(stored, folder / "model.safetensors", {"format": "pt"})

    return change


def without_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)


def other_words(folder: Path) -> None:
    without_tokenizer(folder)
    (folder / "vocab.txt").write_text("\n".join([*WORDS[:5], *(f"word{number}" for number in range(7))]))


def words_in_another_order(folder: Path) -> None:
    """As where the files of two models of one vocabulary's size were mixed."""
    (folder / "vocab.txt").write_text("\n".join([*WORDS[:5], *reversed(WORDS[5:])]))


def more_words(folder: Path) -> None:
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    tokenizer.add_tokens(["<laugh>", "<sigh>"])
    tokenizer.save_pretrained(folder)


def one_token_type(folder: Path) -> None:
    save_source(folder, type_vocab_size=1)


BAD: dict[str, tuple[Edit, str]] = {
    "no tokenizer": (without_tokenizer, r"no tokenizer; copy tokenizer\.json"),
    "cut tokenizer": (write("tokenizer.json", '{"version": '), r"tokenizer\.json"),
    "a list for a tokenizer": (write("tokenizer.json", "[]"), r"tokenizer\.json"),
    "an empty tokenizer": (write("tokenizer.json", "{}"), "tokenizer's files are damaged"),
    "no special tokens": (lambda f: (without_tokenizer(f), (f / "vocab.txt").write_text("")), "tokenizer"),
    "another family": (
        merge("tokenizer_config.json", tokenizer_class="AlbertTokenizerFast"),
        "AlbertTokenizer, not one",
    ),
    "other words": (other_words, r"does not know \d+ of \d+ tokens"),
    "another order": (words_in_another_order, r"is token \d+ by tokenizer\.json, \d+ by vocab\.txt"),
    "ids beyond": (more_words, r"2 tokens \(<laugh>, <sigh>\) .* beyond the model's 12 word embeddings"),
    "types beyond": (one_token_type, r"2 token types .* type_vocab_size in config\.json is 1"),
    "a list for a configuration": (write("config.json", "[1]"), r"config\.json"),
    "no JSON": (write("config.json", "{"), r"config\.json"),
    "words for sizes": (merge("config.json", hidden_size="sixteen"), "hidden_size"),
    "an unknown activation": (merge("config.json", hidden_act="xielu"), "hidden_act"),
    "a decoder": (merge("config.json", is_decoder=True), "is_decoder"),
    "fewer positions": (merge("config.json", max_position_embeddings=16), "position_embeddings"),
    "a missing layer": (merge("config.json", num_hidden_layers=3), r"16 tensors .*encoder\.layer\.2"),
    "a layer left over": (merge("config.json", num_hidden_layers=1), r"16 tensors .*encoder\.layer\.1"),
    "a missing tensor": (tensors(lambda stored: stored.pop(LAYER)), r"1 tensor .*missing"),
    "not a number": (tensors(lambda stored: stored[LAYER].fill_(torch.nan)), "NaN"),
    "no safetensors": (write("model.safetensors", "nothing"), r"model\.safetensors"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_trained_is_named_at_once(name: str, source: Path) -> None:
    edit, problem = BAD[name]
    edit(source)
    with pytest.raises(InputError, match=problem) as raised:
        check_teacher(TASK, str(source), 16)
    assert "\n" not in str(raised.value)


def half(stored: dict[str, torch.Tensor]) -> None:
    stored.update({name: value.bfloat16() for name, value in stored.items()})


def without_pooler(stored: dict[str, torch.Tensor]) -> None:
    for name in [name for name in stored if name.startswith("pooler.")]:
        del stored[name]


GOOD: dict[str, Edit] = {
    "an encoder": lambda folder: None,
    "no pooler": tensors(without_pooler),
    "half precision": tensors(half),
    "a head of three labels": lambda folder: save_source(folder, BertForSequenceClassification, num_labels=3),
    "a masked language model": lambda folder: save_source(folder, BertForMaskedLM),
    "only vocab.txt": lambda folder: [(folder / f"tokenizer{name}.json").unlink() for name in ("", "_config")],
    "shards": lambda folder: ((folder / "model.safetensors").unlink(), save_source(folder, max_shard_size="6KB")),
}


@pytest.mark.parametrize("name", GOOD)
def test_the_encoder_is_taken_whatever_lies_about_it(name: str, original: Path, source: Path) -> None:
    GOOD[name](source)
    model = load_teacher(source, sample_texts(TASK), 16).encoder.model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    whole = source / "model.safetensors"
    stored = load_file(whole if whole.exists() else original / "model.safetensors")
    expected = {tensor.removeprefix("bert."): values.float() for tensor, values in stored.items()}
    encoder = {tensor: values for tensor, values in model.state_dict().items() if "pooler" not in tensor}
    for tensor, values in encoder.items():
        torch.testing.assert_close(values, expected[tensor], atol=0, rtol=0)


def test_texts_of_one_part_need_one_token_type(source: Path) -> None:
    one_token_type(source)
    singles = tuple(replace(example, second=None) for example in PAIRS)
    assert check_teacher(replace(TASK, train=singles, dev=singles), str(source), 16) == ()
    with pytest.raises(InputError, match="token types"):
        check_teacher(TASK, str(source), 16)


@pytest.mark.parametrize(
    "edit",
    [
        merge("tokenizer_config.json", do_lower_case=False),
        write("vocab.txt", "\n".join(reversed(WORDS))),
        write("added_tokens.json", "{}"),
        merge("config.json", hidden_act="relu"),
        tensors(lambda stored: stored[LAYER].add_(1)),
    ],
    ids=["tokenizer's settings", "vocabulary", "added tokens", "configuration", "weights"],
)
def test_whatever_makes_another_teacher_changes_its_hash(edit: Edit, original: Path, source: Path) -> None:
    assert content_hash(source) == content_hash(original)
    edit(source)
    assert content_hash(source) != content_hash(original)


def test_every_shard_counts(source: Path) -> None:
    GOOD["shards"](source)
    before = content_hash(source)
    last = sorted(source.glob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-1] + b"\x01")
    assert content_hash(source) != before


def hub_that(monkeypatch: pytest.MonkeyPatch, answer: Exception | Path) -> None:
    """What ``huggingface_hub`` makes of any name."""

    def download(name: str, allow_patterns: list[str]) -> str:
        assert "pytorch_model.bin" not in allow_patterns
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)


def test_a_model_of_the_hub_is_taken(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_that(monkeypatch, source)
    assert resolve_teacher("someone/model") == source


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (
            LocalEntryNotFoundError("offline"),
            r"unknown teacher .*hub \(not to be reached from here\), all-MiniLM-L6-v2",
        ),
        (ConnectionError("no route to host"), "not to be reached"),
        (HFValidationError("not a name"), r"unknown teacher 'someone/model'.*a name on the hub, all-MiniLM"),
    ],
)
def test_what_the_hub_cannot_give_is_one_line(answer: Exception, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_that(monkeypatch, answer)
    with pytest.raises(InputError, match=problem):
        resolve_teacher("someone/model")


def test_pickled_weights_of_the_hub_are_not_downloaded(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "model.safetensors").unlink()
    hub_that(monkeypatch, source)
    with pytest.raises(InputError, match=r"no safetensors.*pickled weights.*never read.*save_pretrained"):
        resolve_teacher("someone/model")
