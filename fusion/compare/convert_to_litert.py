"""Run by a Python that has litert-torch, never imported: ``convert_to_litert.py CHECKPOINT OUT SEQ_LEN ARCHITECTURE
PRECISION``.

The model, of transformers' class ARCHITECTURE, takes int32 [1, SEQ_LEN] inputs in the order input_ids, attention_mask
and, where it has them, token_type_ids; it gives the class's first output, fp32. With the
precision int8 its weights are int8, a scale a channel, and its products' rows are quantised as they come.
"""

from __future__ import annotations

import sys

import litert_torch
import torch
import transformers


class FirstOutput(torch.nn.Module):
    """A model with positional inputs and one output."""

    def __init__(self, model: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The first output, of inputs [1, seq_len] in the order of ``names``."""
        return self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=False)[0]


def convert(checkpoint: str, path: str, seq_len: int, architecture: str, precision: str) -> None:
    """Writes the converted model; whatever fails ends the process with its message as the last line."""
    loaded = getattr(transformers, architecture).from_pretrained(checkpoint).eval()
    ids = torch.zeros(1, seq_len, dtype=torch.int64)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if getattr(loaded.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    model = FirstOutput(loaded, list(inputs))
    litert_torch.convert(model.eval(), tuple(inputs.values())).export(path)
    if precision == "int8":
        quantise(path)


def quantise(path: str) -> None:
    """Replaces a .tflite file by the same model with products of a dynamic range."""
    from ai_edge_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(path)
    tool.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    content = tool.quantize().quantized_model
    with open(path, "wb") as file:
        file.write(content)


if __name__ == "__main__":
    convert(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
