"""The training loop: batches, rates, and what several processes make of one batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import BertConfig

from data.errors import StoreError
from data.progress import no_progress
from search.learning.task_models import new_model
from search.learning.training import Schedule, batch_plan, depth_below_top, own_share, rate_share, train

STEPS, BATCH = 4, 8


def learn(directory: Path, checkpoint_steps: int = 0) -> torch.nn.Module:
    """A small classifier after a few steps on random texts."""
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    model = new_model(config, "classification")
    texts = torch.from_numpy(np.random.default_rng(0).integers(5, 30, (STEPS * BATCH, 6)))

    def loss(wrapped: torch.nn.Module, step: int) -> torch.Tensor:
        chosen = own_share(np.arange(step * BATCH, (step + 1) * BATCH))
        found: torch.Tensor = wrapped(input_ids=texts[chosen], labels=texts[chosen, 0] % 2).loss
        return found

    schedule = Schedule(STEPS, BATCH, learning_rate=1e-3, averaged=0.5, checkpoint_steps=checkpoint_steps)
    train(model, loss, schedule, seed=0, directory=directory, progress=no_progress, stage="test")
    return model


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    one = learn(tmp_path / "one").state_dict()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}", __file__]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([*command, str(tmp_path)], check=True, timeout=240, env=environment)
    for rank in (0, 1):
        two = load_file(tmp_path / f"rank-{rank}.safetensors")
        # bfloat16, where it is fast, rounds other sums in other places.
        assert all(torch.allclose(one[name], values, atol=2e-3) for name, values in two.items())


def test_every_process_has_a_share_of_a_short_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for index in range(4):
        process = SimpleNamespace(process_index=index, num_processes=4)
        monkeypatch.setattr("search.learning.training.accelerator", lambda process=process: process)
        shares.append(own_share(np.array([7, 9])).tolist())
    assert shares == [[7], [9], [7], [9]]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=70), st.integers(1, 9), st.integers(1, 40), st.integers(0, 9))
def test_every_pass_sees_every_example_once(lengths: list[int], batch_size: int, steps: int, seed: int) -> None:
    plan = batch_plan(np.array(lengths), batch_size, steps, seed)
    assert len(plan) == steps
    each = -(-len(lengths) // batch_size)
    for start in range(0, steps - each + 1, each):
        assert sorted(np.concatenate(plan[start : start + each]).tolist()) == list(range(len(lengths)))
    assert all(
        np.array_equal(*pair) for pair in zip(plan, batch_plan(np.array(lengths), batch_size, steps, seed), strict=True)
    )


@given(st.integers(1, 500), st.floats(0, 1))
def test_rates_rise_and_fall_to_nothing(steps: int, warmup: float) -> None:
    schedule = Schedule(steps, warmup=warmup)
    shares = [rate_share(step, schedule) for step in range(steps)]
    assert all(0 < share <= 1 for share in shares)
    top = shares.index(max(shares))
    assert shares[:top] == sorted(shares[:top])
    assert shares[top:] == sorted(shares[top:], reverse=True)


def test_layers_are_counted_from_the_top() -> None:
    names = ("bert.embeddings.LayerNorm.weight", "bert.encoder.layer.0.output.dense.bias", "classifier.weight")
    assert [depth_below_top(name, 4) for name in names] == [4, 3, 0]


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    learn(tmp_path, checkpoint_steps=2)
    (tmp_path / "checkpoint" / "tensors.safetensors").write_bytes(b"nothing")
    with pytest.raises(StoreError, match="damaged"):
        learn(tmp_path, checkpoint_steps=2)


if __name__ == "__main__":
    from safetensors.torch import save_file

    rank = os.environ["RANK"]
    save_file(learn(Path(sys.argv[1]) / rank).state_dict(), Path(sys.argv[1]) / f"rank-{rank}.safetensors")
