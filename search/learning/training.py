"""What fine-tuning and distillation share: Trainer settings, checkpoints that survive a kill, progress."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.progress import Progress, ProgressEvent

if TYPE_CHECKING:
    import torch
    from transformers import TrainerCallback, TrainingArguments

# On a CPU, at some 30 tokens a text, the backward pass of the fused attention takes longer than all the rest of
# a small student: 0.19 s a step against 0.12 s (one Zen 4 core, 6 layers x 192, 32 x 28 tokens, bfloat16).
TRAINING_ATTENTION = "eager"


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


def training_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def training_arguments(
    directory: Path, *, seed: int, batch_size: int, checkpoint_steps: int, **settings: Any
) -> TrainingArguments:
    """Trainer settings common to all training here; ``checkpoint_steps`` 0 keeps no checkpoints."""
    import torch
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(directory),
        seed=seed,
        data_seed=seed,
        per_device_train_batch_size=batch_size,
        save_strategy="steps" if checkpoint_steps else "no",
        save_steps=max(1, checkpoint_steps),
        save_total_limit=1,
        bf16=fast_bfloat16(),
        use_cpu=not torch.cuda.is_available(),
        remove_unused_columns=False,
        train_sampling_strategy="group_by_length",
        dataloader_pin_memory=False,
        disable_tqdm=True,
        logging_strategy="no",
        report_to="none",
        **settings,
    )


def last_whole_checkpoint(directory: Path) -> str | None:
    """The newest checkpoint that was written to its end; unfinished ones are removed.

    Trainer writes ``trainer_state.json`` last, so a checkpoint without it was cut off by a kill.
    """
    checkpoints = sorted(
        directory.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]), reverse=True
    )
    for path in checkpoints:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(path)
        else:
            return str(path)
    return None


def progress_callback(progress: Progress, stage: str) -> TrainerCallback:
    """A Trainer callback that reports each step."""
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            progress(ProgressEvent(stage, state.global_step, state.max_steps))

    return Reporter()


def save_checkpoint(model: Any, tokenizer: Any, directory: Path) -> None:
    """Write an ordinary Hugging Face directory: config, safetensors, tokenizer; what a kill left there is removed."""
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def load_checkpoint(directory: Path) -> Any:
    """The ``BertForSequenceClassification`` in ``directory``, float32, ready to evaluate, on the training device."""
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(directory, use_safetensors=True)
    return model.to(training_device()).eval()
