"""Ways to break a checkpoint: its configuration, and the header of its safetensors file, by a seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fusion.mutations import Generator, damaged

Object = dict[str, Any]
Mutation = Callable[[Object, Generator], None]

_KEYS = (
    "position_embedding_type is_decoder add_cross_attention chunk_size_feed_forward quantization_config auto_map "
    "num_labels pruned_heads rope_theta torch_dtype output_hidden_states forward config alibi note embedding_size"
).split()
_VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 7, 8, 16, 10**9, 10**30, 0.5, 1e-5, float("nan"), 1e400),
    *(
        "",
        "bert",
        "gelu",
        "relu",
        "mish",
        "absolute",
        "relative_key",
        "float16",
        "albert",
        "BertModel",
        "\0",
        "é" * 99,
    ),
    *([], [1], ["BertModel"], ["BertForSequenceClassification"], {}, {"0": "a"}, {"0": 0, "1": 1, "2": 2}, [[[]]]),
)
_TYPES = "F32 F16 BF16 F64 I8 I64 U8 F8_E4M3 F4 BOOL f32 C64 X".split()
_NUMBERS = (-(2**63), -1, 0, 1, 2, 3, 16, 24, 2**31, 2**62, 2**64, 1.5, True, None, "3")


def _key(document: Object, generator: Generator) -> str:
    return str(generator.choice(sorted(document))) if document else "none"


def _value(generator: Generator) -> Any:
    return _VALUES[int(generator.integers(len(_VALUES)))]


def change_key(config: Object, generator: Generator) -> None:
    config[_key(config, generator)] = _value(generator)


def add_key(config: Object, generator: Generator) -> None:
    config[str(generator.choice(_KEYS))] = _value(generator)


def drop_key(config: Object, generator: Generator) -> None:
    config.pop(_key(config, generator), None)


def nudge_number(config: Object, generator: Generator) -> None:
    key = _key(config, generator)
    if isinstance(config[key], int | float):
        config[key] *= [2, 0.5, -1, 1.0][int(generator.integers(4))]


def swap_values(document: Object, generator: Generator) -> None:
    first, second = _key(document, generator), _key(document, generator)
    document[first], document[second] = document[second], document[first]


def rename_key(document: Object, generator: Generator) -> None:
    key = _key(document, generator)
    document[key[: int(generator.integers(1, len(key) + 1))] + str(generator.choice(["", "_", ".weight"]))] = (
        document.pop(key)
    )


def change_type(header: Object, generator: Generator) -> None:
    header[_key(header, generator)]["dtype"] = str(generator.choice(_TYPES))


def change_shape(header: Object, generator: Generator) -> None:
    shape = header[_key(header, generator)]["shape"]
    choice = int(generator.integers(3))
    if choice == 0:
        shape.reverse()
    elif choice == 1:
        shape.append(1)
    else:
        shape[int(generator.integers(len(shape)))] = _NUMBERS[int(generator.integers(len(_NUMBERS)))]


def change_offsets(header: Object, generator: Generator) -> None:
    offsets = header[_key(header, generator)]["data_offsets"]
    number = _NUMBERS[int(generator.integers(len(_NUMBERS)))]
    offsets[int(generator.integers(2))] = offsets[0] + number if type(number) is int else number


def drop_field(header: Object, generator: Generator) -> None:
    entry = header[_key(header, generator)]
    entry.pop(_key(entry, generator), None)


def replace_entry(header: Object, generator: Generator) -> None:
    header[_key(header, generator)] = _value(generator)


def swap_data(header: Object, generator: Generator) -> None:
    """Two tensors in each other's place: right where they have one shape, damaged elsewhere."""
    first, second = header[_key(header, generator)], header[_key(header, generator)]
    first["data_offsets"], second["data_offsets"] = second["data_offsets"], first["data_offsets"]


CONFIG_MUTATIONS: tuple[Mutation, ...] = (change_key, add_key, add_key, drop_key, nudge_number, swap_values, rename_key)
HEADER_MUTATIONS: tuple[Mutation, ...] = (
    change_type,
    change_shape,
    change_offsets,
    drop_field,
    replace_entry,
    swap_data,
) + (drop_key, rename_key)


def mutated_config(content: bytes, seed: int) -> bytes:
    """A configuration changed in one to three ways, or damaged as bytes."""
    generator = np.random.default_rng(seed)
    if seed % 5 == 0:
        return damaged(content, generator)
    return json.dumps(_mutated(json.loads(content), CONFIG_MUTATIONS, generator)).encode()


def mutated_weights(content: bytes, seed: int) -> bytes:
    """A safetensors file whose header is changed in one to three ways, or is damaged as bytes."""
    generator = np.random.default_rng(seed)
    data = 8 + int.from_bytes(content[:8], "little")
    if seed % 5 == 0:
        return damaged(content[:data], generator) + content[data:]
    if seed % 5 == 1:
        return damaged(content, generator)
    header = json.loads(content[8:data])
    header.pop("__metadata__", None)
    text = json.dumps(_mutated(header, HEADER_MUTATIONS, generator)).encode()
    return len(text).to_bytes(8, "little") + text + content[data:]


def _mutated(document: Object, mutations: tuple[Mutation, ...], generator: Generator) -> Object:
    for _ in range(int(generator.integers(1, 4))):
        try:
            mutations[int(generator.integers(len(mutations)))](document, generator)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
            continue  # an earlier mutation left nothing for this one to change
    return document
