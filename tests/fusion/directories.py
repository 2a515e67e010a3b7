"""Hugging Face and sentence-transformers directories with random weights, and what transformers makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from fusion.checkpoints.heads import HEADS
from fusion.checkpoints.loading import quiet_transformers
from tests.fusion.families import VOCABULARY, family_config


def save_head(family: str, head: str, folder: Path, **changes: Any) -> Any:
    """A family's model with a head, all weights drawn; written to ``folder``."""
    config = family_config(family, **changes)
    config.num_labels = changes.get("num_labels", 2 if head == "ForQuestionAnswering" else 3)
    torch.manual_seed(0)
    with quiet_transformers(), torch.no_grad():
        model = getattr(transformers, HEADS[head])[type(config)](config).eval()
        for parameter in model.parameters():
            parameter.normal_(std=0.15)
        model.save_pretrained(folder)
    return model


def heads_of(family: str) -> list[str]:
    """The heads that transformers has for a family, by the endings of their names."""
    kind = type(family_config(family))
    return [head for head, table in HEADS.items() if table and kind in getattr(transformers, table)]


def edit_json(path: Path, **changes: Any) -> None:
    """Changes a JSON object's values; None takes a key away."""
    document = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def token_inputs(names: tuple[str, ...], seq_len: int, used: int) -> dict[str, np.ndarray]:
    """Ids of which the first ``used`` are not masked."""
    generator = np.random.default_rng(used)
    shape = (1, seq_len)
    values = {
        "input_ids": generator.integers(0, VOCABULARY, shape),
        "attention_mask": (np.arange(seq_len) < used).astype(np.int64)[None],
        "token_type_ids": generator.integers(0, 2, shape),
    }
    return {name: values[name] for name in names}


def expected_outputs(model: Any, inputs: dict[str, np.ndarray], choice: bool = False) -> list[np.ndarray]:
    """transformers' own outputs; a multiple choice has one choice."""
    tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
    with torch.no_grad():
        outputs = model(**{name: one[:, None] if choice else one for name, one in tensors.items()}, return_dict=False)
    return [output.numpy() for output in outputs]
