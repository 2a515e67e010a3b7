"""Small encoders of every family with random weights, exported by either of PyTorch's exporters."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers
from transformers import PreTrainedModel

from fusion.checkpoints.loading import quiet_transformers

VOCABULARY = 60
PADDING = 1
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

# Sizes off the vector: head sizes of 12, 16 and 8, and no power of two where it can be avoided.
_SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80}
_POSITIONS = {"vocab_size": VOCABULARY, "max_position_embeddings": 64}
_CONFIGS: Mapping[str, tuple[str, dict[str, Any]]] = MappingProxyType(
    {
        "bert": ("BertConfig", _SIZES),
        "minilm": ("BertConfig", _SIZES | {"num_attention_heads": 12, "num_hidden_layers": 3}),
        "distilbert": ("DistilBertConfig", {"dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 80}),
        "roberta": (
            "RobertaConfig",
            _SIZES | {"num_attention_heads": 3, "type_vocab_size": 1, "pad_token_id": PADDING},
        ),
        "electra": ("ElectraConfig", _SIZES | {"embedding_size": 24}),
        "albert": ("AlbertConfig", _SIZES | {"embedding_size": 24}),
        "mobilebert": (
            "MobileBertConfig",
            _SIZES | {"embedding_size": 24, "intra_bottleneck_size": 32, "num_feedforward_networks": 3},
        ),
        "mobilebert-plain": (
            "MobileBertConfig",
            _SIZES
            | {
                "embedding_size": 48,
                "use_bottleneck": False,
                "trigram_input": False,
                "normalization_type": "layer_norm",
                "hidden_act": "gelu_new",
                "classifier_activation": False,
            },
        ),
    }
)
FAMILIES = tuple(_CONFIGS)
_HEADS: Mapping[str, str] = MappingProxyType(
    {
        "classification": "AutoModelForSequenceClassification",
        "regression": "AutoModelForSequenceClassification",
        "tokens": "AutoModelForTokenClassification",
        "hidden": "AutoModel",
        "states": "AutoModel",
        "questions": "AutoModelForQuestionAnswering",
        "masked": "AutoModelForMaskedLM",
    }
)


@dataclass(frozen=True)
class Export:
    """How a model is exported. ``exporter`` is ``torchscript`` or ``dynamo``; ``changes`` go into its configuration."""

    family: str
    exporter: str = "torchscript"
    opset: int = 17
    head: str = "classification"
    attention: str = "eager"
    seq_len: int = 7
    dynamic: bool = False
    inputs: tuple[str, ...] = INPUTS
    dtype: torch.dtype = torch.int64
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs that the family has, among those that are asked for."""
        missing = {"token_type_ids"} if self.family == "distilbert" else set()
        return tuple(name for name in self.inputs if name not in missing)

    def __str__(self) -> str:
        kind = "dynamic" if self.dynamic else str(self.seq_len)
        return f"{self.family}-{self.head}-{self.exporter}{self.opset}-{self.attention}-{kind}"


def family_config(family: str, **changes: Any) -> Any:
    """transformers' configuration of a small encoder."""
    kind, sizes = _CONFIGS[family]
    return getattr(transformers, kind)(**(_POSITIONS | sizes | changes))


def random_model(family: str, head: str, attention: str = "eager", **changes: Any) -> PreTrainedModel:
    """A model in which every part matters: all weights are drawn with standard deviation .15."""
    config = family_config(family, **changes)
    config.num_labels = {"regression": 1, "classification": 3, "tokens": 5}.get(head, 2)
    config.output_hidden_states = head == "states"
    torch.manual_seed(0)
    with quiet_transformers():
        model: PreTrainedModel = getattr(transformers, _HEADS[head]).from_config(config, attn_implementation=attention)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.15)
    return model.eval()


class _Outputs(torch.nn.Module):
    """A model with positional inputs, all of whose outputs are tensors."""

    def __init__(self, model: PreTrainedModel, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.model(**dict(zip(self.names, ids, strict=True)), return_dict=False)
        return tuple(one for output in outputs for one in (output if isinstance(output, tuple) else (output,)))


def export_family(how: Export, path: Path) -> Path:
    """The ONNX file of a random model."""
    module = _Outputs(random_model(how.family, how.head, how.attention, **how.changes), how.names)
    return export_module(module, how, path)


def export_module(module: torch.nn.Module, how: Export, path: Path) -> Path:
    """The ONNX file of a module that takes the inputs by position."""
    ids = torch.full((1, how.seq_len), 5, dtype=how.dtype)
    values = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    example = tuple(values[name] for name in how.names)
    options: dict[str, Any] = {"input_names": list(how.names), "opset_version": how.opset}
    if how.exporter == "dynamo":
        options |= {"dynamo": True, "external_data": False, "verbose": False}
        free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        options |= {"dynamic_shapes": ((free,) * len(example),)} if how.dynamic else {}
    else:
        options |= {"dynamo": False}
        free_axes = {name: {0: "batch", 1: "sequence"} for name in how.names}
        options |= {"dynamic_axes": free_axes} if how.dynamic else {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, example, str(path), **options)
    return path


def ragged_inputs(how: Export, seq_len: int, used: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Ids [1, seq_len] with padding where the mask is zero and, now and then, elsewhere."""
    generator = np.random.default_rng(seed)
    shape = (1, seq_len)
    mask = (np.arange(seq_len) < used)[None]
    ids = np.where(mask & (generator.random(shape) > 0.1), generator.integers(0, VOCABULARY, shape), PADDING)
    kinds = generator.integers(0, 1 if how.family == "roberta" else 2, shape)
    values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}
    return {name: values[name].astype(np.int64) for name in how.names}


def runtime_outputs(how: Export, path: Path, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """ONNX Runtime's outputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = np.int32 if how.dtype == torch.int32 else np.int64
    present = {value.name for value in session.get_inputs()}
    return [
        np.asarray(one) for one in session.run(None, {k: v.astype(wanted) for k, v in inputs.items() if k in present})
    ]
