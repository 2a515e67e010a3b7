"""The training loop that fine-tuning and distillation share; it survives a kill and repeats to the last bit.

Everything random is drawn from the seed and the number of the step, so that a loop that goes on from a checkpoint does
what it would have done. Accelerate places models and averages gradients: one GPU, several (``accelerate launch``) or
the CPU.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import StoreError
from data.progress import Progress, ProgressEvent

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor

# On a CPU, at some 30 tokens a text, the backward pass of the fused attention takes longer than all the rest of
# a small student: 0.19 s a step against 0.12 s (one Zen 4 core, 6 layers x 192, 32 x 28 tokens, bfloat16).
TRAINING_ATTENTION = "eager"
_CHECKPOINT, _STATE, _TENSORS = "checkpoint", "state.json", "tensors.safetensors"
_POOL = 50  # so many batches are sorted by length together


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    ``steps`` batches of ``batch_size`` examples; the learning rate rises over the ``warmup`` share of them and falls to
    zero along a cosine. Layer k below the top learns ``rate_decay`` ** k as fast. ``averaged`` is the share of the last
    steps whose weights are averaged (0: none). ``checkpoint_steps`` 0 starts a killed loop anew.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 5e-4
    warmup: float = 0.06
    weight_decay: float = 0.01
    rate_decay: float = 1.0
    averaged: float = 0.0
    checkpoint_steps: int = 0


def training_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def fast_bfloat16() -> bool:
    """True where bfloat16 products are faster than float32's: AVX512-BF16, AMX, or a recent GPU.

    Elsewhere PyTorch emulates them and training would be slower. (A Zen 4 core with AVX512-BF16 took 0.30 s
    instead of 0.54 s for a step of all-MiniLM-L6-v2 on 32 x 32 tokens.)
    """
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def batch_plan(lengths: np.ndarray, batch_size: int, steps: int, seed: int) -> list[np.ndarray]:
    """The examples of each step, (batch,) each: pass after pass in random order, neighbours in length together."""
    batches: list[np.ndarray] = []
    passes = 0
    while len(batches) < steps:
        batches += _one_pass(lengths, batch_size, np.random.default_rng([seed, passes]))
        passes += 1
    return batches[:steps]


def _one_pass(lengths: np.ndarray, batch_size: int, random: np.random.Generator) -> list[np.ndarray]:
    order = random.permutation(len(lengths))
    pools = [order[start : start + _POOL * batch_size] for start in range(0, len(order), _POOL * batch_size)]
    batches = []
    for pool in pools:
        ordered = pool[np.argsort(-lengths[pool], kind="stable")]
        batches += [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
    return [batches[index] for index in random.permutation(len(batches))]


def train(
    model: Any,
    loss: Callable[[Any, int], Tensor],
    schedule: Schedule,
    *,
    seed: int,
    directory: Path,
    progress: Progress,
    stage: str,
    after: Callable[[Any, int], None] | None = None,
) -> None:
    """Trains ``model`` in place, on its device, and leaves its averaged weights in it, in evaluation mode.

    Args:
        model: as :mod:`search.learning.task_models` makes it; what needs no gradient stays as it is.
        loss: of (model, step), the loss of that step's batch.
        seed: of dropout.
        directory: where checkpoints are kept; one that a killed call left is gone on with.
        after: told of the model and the steps done after each step; it may leave the model in evaluation mode.

    Raises:
        StoreError: checkpoints cannot be written, or are damaged.
    """
    loop = _Loop(model, schedule)
    done = loop.restore(directory) if schedule.checkpoint_steps else 0
    for step in range(done, schedule.steps):
        loop.step(loss, step, seed)
        done = step + 1
        if after is not None:
            after(model, done)
            model.train()
        if schedule.checkpoint_steps and done % schedule.checkpoint_steps == 0 and done < schedule.steps:
            loop.keep(directory, done)
        progress(ProgressEvent(stage, done, schedule.steps))
    loop.finish()


class _Loop:
    """Model, optimizer and averaged weights between steps."""

    def __init__(self, model: Any, schedule: Schedule) -> None:
        import torch

        self.model, self.schedule = model, schedule
        self.accelerator = accelerator()
        self.names = {parameter: name for name, parameter in model.named_parameters() if parameter.requires_grad}
        groups = parameter_groups(model, schedule)
        self.rates = [group["lr"] for group in groups]
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        # Wrapped only where several processes average their gradients.
        self.wrapped = self.accelerator.prepare(model) if self.accelerator.num_processes > 1 else model
        self.averages: dict[str, Tensor] = {}
        self.averaged = 0
        self.model.train()

    def step(self, loss: Callable[[Any, int], Tensor], step: int, seed: int) -> None:
        import torch

        with seeded(seed, step, self.accelerator.process_index), self.accelerator.autocast():
            value = loss(self.wrapped, step)
        self.accelerator.backward(value)
        torch.nn.utils.clip_grad_norm_(list(self.names), 1.0)
        share = rate_share(step, self.schedule)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.schedule.averaged and step >= self.schedule.steps * (1 - self.schedule.averaged):
            self._average()

    def _average(self) -> None:
        self.averaged += 1
        for parameter, name in self.names.items():
            value = parameter.detach()
            if name in self.averages:
                self.averages[name].lerp_(value, 1 / self.averaged)
            else:
                self.averages[name] = value.clone()

    def finish(self) -> None:
        import torch

        with torch.no_grad():
            for parameter, name in self.names.items():
                if name in self.averages:
                    parameter.copy_(self.averages[name])
        self.model.eval()

    def keep(self, directory: Path, done: int) -> None:
        """Writes a checkpoint, whole or not at all, in place of the one before."""
        from safetensors.torch import save_file

        if not self.accelerator.is_main_process:
            return
        tensors: dict[str, Tensor] = {}
        for parameter, name in self.names.items():
            state = self.optimizer.state[parameter]
            tensors |= {f"weight.{name}": parameter.detach(), f"first.{name}": state["exp_avg"]}
            tensors[f"second.{name}"] = state["exp_avg_sq"]
            if name in self.averages:
                tensors[f"average.{name}"] = self.averages[name]
        partial, final = directory / f"{_CHECKPOINT}.partial", directory / _CHECKPOINT
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            save_file({name: value.contiguous() for name, value in tensors.items()}, partial / _TENSORS)
            (partial / _STATE).write_text(json.dumps({"done": done, "averaged": self.averaged}), encoding="utf-8")
            shutil.rmtree(final, ignore_errors=True)
            os.replace(partial, final)
        except OSError as error:
            raise StoreError(f"cannot write {final}: {error.strerror or error}") from error

    def restore(self, directory: Path) -> int:
        """Goes back to where a checkpoint was written; returns the steps done before, 0 without one."""
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        found = directory / _CHECKPOINT
        if not found.is_dir():
            return 0
        try:
            tensors = load_file(found / _TENSORS)
            record = json.loads((found / _STATE).read_text(encoding="utf-8"))
            done, self.averaged = int(record["done"]), int(record["averaged"])
            with torch.no_grad():
                for parameter, name in self.names.items():
                    parameter.copy_(tensors[f"weight.{name}"])
                    self.optimizer.state[parameter] = {
                        "step": torch.tensor(float(done), device=parameter.device),
                        "exp_avg": tensors[f"first.{name}"].to(parameter.device),
                        "exp_avg_sq": tensors[f"second.{name}"].to(parameter.device),
                    }
                    if f"average.{name}" in tensors:
                        self.averages[name] = tensors[f"average.{name}"].to(parameter.device)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
            raise StoreError(f"{found} is damaged; remove it to begin the training anew") from error
        return done


def has_checkpoint(directory: Path) -> bool:
    """Whether a killed call of :func:`train` left something to go on with."""
    return (directory / _CHECKPOINT).is_dir()


@cache
def accelerator() -> Accelerator:
    """Where and in which precision training runs."""
    import torch
    from accelerate import Accelerator

    return Accelerator(mixed_precision="bf16" if fast_bfloat16() else "no", cpu=not torch.cuda.is_available())


def own_share(examples: np.ndarray) -> np.ndarray:
    """The part of a batch that this process learns from, where several share the work; of a short one some share."""
    found = accelerator()
    return examples[found.process_index % len(examples) :: found.num_processes]


@contextmanager
def seeded(seed: int, *numbers: int) -> Iterator[None]:
    """PyTorch's random numbers from these alone while the context is open."""
    import torch

    state = np.random.SeedSequence([seed, *numbers]).generate_state(2, np.uint32)
    with torch.random.fork_rng():
        torch.manual_seed(int(state[0]) << 32 | int(state[1]))
        yield


def rate_share(step: int, schedule: Schedule) -> float:
    """Learning rate of a step as a share of the highest: a rise, then a cosine to zero."""
    rise = max(1.0, schedule.warmup * schedule.steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, schedule.steps - rise)))


def parameter_groups(model: Any, schedule: Schedule) -> list[dict[str, Any]]:
    """AdamW's groups: matrices decay, biases and LayerNorms do not, and lower layers may learn more slowly."""
    layers = model.config.num_hidden_layers
    groups: dict[tuple[int, bool], list[Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (depth_below_top(name, layers), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": schedule.learning_rate * schedule.rate_decay**depth,
            "weight_decay": schedule.weight_decay if decays else 0.0,
        }
        for (depth, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def depth_below_top(name: str, layers: int) -> int:
    """How many layers lie above a parameter: 0 for the head and the last layer, the number of layers for embeddings."""
    if "embeddings." in name:
        return layers
    _, found, after = name.partition("encoder.layer.")
    return layers - 1 - int(after.partition(".")[0]) if found else 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, on whatever device; PyTorch has no one class for it."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
