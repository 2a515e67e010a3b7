"""The stages as the command uses them, on a small real model: checked against ONNX Runtime, timed, exported."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from data.architecture import Architecture, Head
from data.errors import InputError, ModelError
from data.progress import no_progress
from data.tasks import Example, TaggedWords, Task
from fusion import compile_model
from fusion.checkpoints.onnx_export import checkpoint_to_onnx
from fusion.compare.agreement import max_difference, random_inputs
from profiling.session import CONFIRMING_ROUNDS, CONFIRMING_RUNS
from search.options import SearchOptions
from search.profiles.on_device import block_shares, time_architectures, time_model
from search.real_stages import (
    export_onnx,
    latency_sources,
    learned,
    load_task,
    material_remarks,
    open_device,
    predictor,
    quality,
    teacher_sizes,
    untrained_student,
)
from tests.fusion.models import export

ARCHITECTURE = Architecture(2, 64, 4, 128, vocab_size=200, seq_len=32, max_positions=64)
OPTIONS = SearchOptions(device="host", budget_ms=8.0, task="docpairs")
LONG_AGO = "2000-01-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=ARCHITECTURE.vocab_size,
        hidden_size=ARCHITECTURE.hidden,
        num_hidden_layers=ARCHITECTURE.layers,
        num_attention_heads=ARCHITECTURE.heads,
        intermediate_size=ARCHITECTURE.intermediate,
        max_position_embeddings=ARCHITECTURE.max_positions,
    )
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def onnx(checkpoint: Path) -> Path:
    return Path(checkpoint_to_onnx(checkpoint, checkpoint.with_name("model.onnx"), ARCHITECTURE.seq_len))


@pytest.fixture(scope="module")
def compiled(onnx: Path) -> Any:
    return compile_model(onnx, seq_len=ARCHITECTURE.seq_len, threads=1)


@pytest.fixture(scope="module")
def hidden_states(checkpoint: Path) -> Path:
    """The encoder alone, which gives a state for each token and one more: two outputs."""
    from transformers import BertModel

    folder = checkpoint.with_name("encoder")
    BertModel.from_pretrained(checkpoint).save_pretrained(folder)
    return Path(checkpoint_to_onnx(folder, folder.with_suffix(".onnx"), ARCHITECTURE.seq_len))


def test_compiled_and_onnxruntime_agree_with_padding(compiled: Any, onnx: Path) -> None:
    assert max_difference(compiled, onnx, ARCHITECTURE, seed=0) < 1e-4


def test_another_model_is_noticed(compiled: Any, onnx: Path, tmp_path: Path) -> None:
    import onnx as onnx_format
    from onnx import numpy_helper

    model = onnx_format.load(onnx)
    bias = next(tensor for tensor in model.graph.initializer if tuple(tensor.dims) == (ARCHITECTURE.labels,))
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 0.5, bias.name))
    onnx_format.save(model, tmp_path / "other.onnx")
    assert max_difference(compiled, tmp_path / "other.onnx", ARCHITECTURE, seed=0) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(("head", "labels"), [("tokens", 5), ("embedding", 1)])
def test_models_of_other_heads_agree_in_all_that_they_give(head: Head, labels: int, tmp_path: Path) -> None:
    architecture = replace(ARCHITECTURE, max_positions=512, head=head, labels=labels)
    path = export(architecture, tmp_path)
    model = compile_model(path, seq_len=architecture.seq_len, threads=1)
    assert max_difference(model, path, architecture, seed=0) < 1e-4


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda outputs: outputs, 0.0),
        (lambda outputs: [*outputs[:-1], outputs[-1] + 0.25], 0.25),
        (lambda outputs: [outputs[0] + 0.5 * (np.arange(32) == 31)[None, :, None], *outputs[1:]], 0.5),
        (lambda outputs: [outputs[0], outputs[1] * np.where(np.arange(64) == 9, np.nan, 1)], np.nan),
    ],
    ids=["same", "in the last output", "in the last row", "no number"],
)
def test_each_output_and_row_is_compared(change: Any, found: float, hidden_states: Path) -> None:
    session = onnxruntime.InferenceSession(str(hidden_states))
    names = [port.name for port in session.get_inputs()]
    model = SimpleNamespace(run=lambda given: change(session.run(None, {name: given[name] for name in names})))
    difference = max_difference(model, hidden_states, ARCHITECTURE, seed=0)
    assert difference == pytest.approx(found, abs=1e-6, nan_ok=True)


def test_a_lost_output_is_noticed(hidden_states: Path) -> None:
    session = onnxruntime.InferenceSession(str(hidden_states))
    names = [port.name for port in session.get_inputs()]
    model = SimpleNamespace(run=lambda given: session.run(None, {name: given[name] for name in names})[:1])
    with pytest.raises(ModelError, match=r"gives outputs of the shapes \[\(1, 32, 64\)\], not "):
        max_difference(model, hidden_states, ARCHITECTURE, seed=0)


def test_random_inputs_are_padded_and_within_the_vocabulary() -> None:
    inputs = random_inputs(np.random.default_rng(0), ARCHITECTURE, 5)
    assert {name: array.shape for name, array in inputs.items()} == dict.fromkeys(inputs, (1, 32))
    assert inputs["attention_mask"].sum() == 5
    assert inputs["input_ids"].max() < 200
    assert not inputs["input_ids"][0, 5:].any()


def test_a_model_is_timed_once_for_each_wish(compiled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between the measurement and its record must not have it measured again; a later wish must."""
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path))
    device = open_device(OPTIONS, simulated=False)
    first = time_model(device, compiled, ARCHITECTURE, 1, LONG_AGO)
    assert first.provenance == "measured"
    assert len(first.samples_ms) == CONFIRMING_ROUNDS * CONFIRMING_RUNS
    assert first.median_ms > 0
    assert time_model(device, compiled, ARCHITECTURE, 1, LONG_AGO) == first
    assert time_model(device, compiled, replace(ARCHITECTURE, vocab_size=201), 1, LONG_AGO) != first
    later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    assert time_model(device, compiled, ARCHITECTURE, 1, later).session != first.session


def test_shares_of_blocks_count_every_block(compiled: Any) -> None:
    shares = block_shares(open_device(OPTIONS, simulated=False), compiled, 1)
    assert sum(share.count for share in shares) == len(compiled.blocks)
    assert all(share.total_ms > 0 for share in shares)
    assert list(shares) == sorted(shares, key=lambda share: -share.total_ms)


def test_a_simulated_phone_gives_simulated_figures(
    compiled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path))
    device = open_device(replace(OPTIONS, device="s20"), simulated=True)
    assert time_model(device, None, ARCHITECTURE, 4, LONG_AGO).provenance == "simulated"
    assert sum(share.count for share in block_shares(device, compiled, 4)) == len(compiled.blocks)


@pytest.mark.parametrize(
    ("head", "labels", "shape"),
    [("sequence", 3, (1, 3)), ("tokens", 5, (1, ARCHITECTURE.seq_len, 5)), ("embedding", 1, (1, 32))],
)
def test_an_untrained_student_compiles(
    head: Head, labels: int, shape: tuple[int, ...], checkpoint: Path, tmp_path: Path
) -> None:
    options = replace(OPTIONS, teacher=str(checkpoint), seq_len=ARCHITECTURE.seq_len)
    architecture = replace(ARCHITECTURE, hidden=32, heads=2, labels=labels, head=head)
    student = untrained_student(options, architecture, tmp_path / "student")
    onnx = export_onnx(student, tmp_path / "student.onnx", ARCHITECTURE.seq_len)
    model = compile_model(onnx, seq_len=ARCHITECTURE.seq_len, threads=1)
    assert model.run(random_inputs(np.random.default_rng(0), architecture, 5))[0].shape == shape
    assert max_difference(model, onnx, architecture, seed=0) < 1e-4


def test_architectures_are_timed_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path))
    device = open_device(replace(OPTIONS, device="s20"), simulated=True)
    slow = replace(ARCHITECTURE, layers=8)
    timings = time_architectures(device, [slow, ARCHITECTURE], 4, LONG_AGO, no_progress)
    assert timings[0].median_ms > timings[1].median_ms > 0
    assert timings[0].provenance == "simulated"
    assert time_architectures(device, [ARCHITECTURE], 4, LONG_AGO, no_progress) == timings[1:], "known from the store"
    later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    assert time_architectures(device, [ARCHITECTURE], 4, later, no_progress) != timings[1:], "older than was asked for"


def test_a_source_that_is_blind_to_fusion_learns_from_timings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(tmp_path))
    options = replace(OPTIONS, device="s20", latency_from="flops", seq_len=ARCHITECTURE.seq_len)
    device = open_device(options, simulated=True)
    teacher = replace(ARCHITECTURE, layers=6, hidden=128, intermediate=512)
    sources = latency_sources(predictor(device, options, 8, no_progress), device, options, teacher, 8, no_progress)
    found = quality(sources["flops"])
    assert found.n == len(found.held_out) == quality(sources["fused"]).n and found.mape > quality(sources["fused"]).mape
    models = [teacher, ARCHITECTURE]
    timings = time_architectures(device, models, 8, LONG_AGO, no_progress)
    flops = sources["flops"]
    assert learned(flops, device, [teacher], 8, LONG_AGO).predict([teacher])[0] == pytest.approx(timings[0].median_ms)
    small_ms = timings[1].median_ms
    one, both = (learned(flops, device, each, 8, LONG_AGO).predict(models)[1] for each in ([teacher], models))
    assert abs(both / small_ms - 1) < abs(one / small_ms - 1)


def test_the_default_teachers_sizes_are_read_from_its_package() -> None:
    sizes = teacher_sizes(None)
    assert (sizes.layers, sizes.hidden, sizes.heads, sizes.intermediate) == (6, 384, 12, 1536)


@pytest.mark.parametrize(
    "config",
    [
        '{"model_type": "bert"}',
        '{"model_type": "bert", "num_hidden_layers": "many"}',
        '{"model_type": ["bert"]}',
        '[{"model_type": "bert"}]',
        "null",
    ],
)
def test_a_teacher_without_sizes_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=r"config\.json"):
        teacher_sizes(str(tmp_path))


def test_texts_that_are_cut_and_general_text_are_told(tmp_path: Path) -> None:
    short, long = Example("a text", None, 0.0), Example("word " * 300, None, 1.0)
    task = Task("t", "classification", ("no", "yes"), "accuracy", (short, short, long), (long,))
    (tmp_path / "wiki.txt").write_text("one\n\n = Title = \ntwo\n")
    options = replace(OPTIONS, seq_len=64, corpus=str(tmp_path / "wiki.txt"))
    cut, corpus = material_remarks(task, options)
    assert cut == "2 of 4 training texts (50.0%) are longer than --seq-len 64, and are cut"
    assert corpus.startswith("general text: 2 lines of ")
    assert material_remarks(replace(task, train=(short,), dev=(short,)), OPTIONS) == ()


def test_words_without_a_token_are_told() -> None:
    sentence = TaggedWords(("the", "\u200b", "cat"), (0, 1, 1))
    task = Task("t", "tokens", ("O", "B-A"), "entity_f1", (sentence,), (sentence,))
    (told,) = material_remarks(task, OPTIONS)
    assert told.startswith("the teacher's tokenizer keeps nothing of 2 of 6 words")


def test_the_task_is_what_the_options_name(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    rows = "".join(f"one {n},two {n},{n % 5 / 2}\n" for n in range(20))
    path.write_text(f"a,b,c\n{rows}")
    named = {"train": str(path), "dev": str(path), "text": "a", "text_pair": "b", "label": "c", "kind": "similarity"}
    with pytest.raises(InputError, match="all 20 examples are in the training file too"):
        load_task(replace(OPTIONS, task="pairs", **named))  # type: ignore[arg-type]
    task = load_task(replace(OPTIONS, task="pairs", **named | {"dev": None}, metric="pearson"))  # type: ignore[arg-type]
    assert (task.name, task.kind, task.metric, task.paired) == ("pairs", "similarity", "pearson", True)
    folder = tmp_path / "RTE"
    folder.mkdir()
    for part in ("train", "dev"):
        (folder / f"{part}.tsv").write_text(
            "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n1\ta\tc\tnot_entailment\n"
        )
    rte = load_task(replace(OPTIONS, task="rte", data_dir=str(tmp_path), metric="f1"))
    assert (rte.name, rte.metric, len(rte.train)) == ("rte", "f1", 2)
