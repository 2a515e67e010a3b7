"""What a checkpoint's configuration may say: which keys change what a model computes, and the values that are known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data.errors import DataFileError
from fusion.checkpoints.files import CONFIG, read_config

_LARGEST = MappingProxyType({"layers": 256, "labels": 1 << 20, "size": 1 << 24})
_SIZES = (
    "vocab_size hidden_size dim embedding_size input_embedding_size output_embedding_size intermediate_size hidden_dim "
    "num_hidden_layers n_layers num_attention_heads n_heads max_position_embeddings type_vocab_size "
    "task_type_vocab_size entity_vocab_size entity_emb_size num_hidden_groups "
    "inner_group_num intra_bottleneck_size num_feedforward_networks"
).split()
_LAYERS = ("num_hidden_layers", "n_layers", "num_feedforward_networks", "inner_group_num", "num_hidden_groups")


@dataclass(frozen=True)
class Family:
    """A ``model_type`` that compiles: the keys of what no tensor's shape tells.

    ``shared_layers``: all layers have the same weights, so that only the configuration says how many there are.
    ``padded_positions``: positions are counted from behind ``pad_token_id``, which then has to be there.
    """

    heads: str = "num_attention_heads"
    activation: str = "hidden_act"
    widths: tuple[str, ...] = ("hidden_size",)
    shared_layers: bool = False
    padded_positions: bool = False


_ROBERTA = Family(padded_positions=True)
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "bert": Family(),
        "electra": Family(),
        "albert": Family(shared_layers=True),
        "mobilebert": Family(widths=("intra_bottleneck_size",)),
        "distilbert": Family("n_heads", "activation", ("dim",)),
        "roberta": _ROBERTA,
        "xlm-roberta": _ROBERTA,
        "camembert": _ROBERTA,
        "xlm-roberta-xl": _ROBERTA,
        "roberta-prelayernorm": _ROBERTA,
        "data2vec-text": _ROBERTA,
        "luke": _ROBERTA,
        "ernie": Family(),
        "megatron-bert": Family(),
        "rembert": Family(),
        "splinter": Family(),
        "dpr": Family(),
    }
)
# Other types of models: what in them is not compiled.
_ROTARY, _BIAS = "rotary positions, which rotate queries and keys", "a bias of attention by relative position"
_UNCOMPILED: Mapping[str, str] = MappingProxyType(
    dict.fromkeys("modernbert nomic_bert new roformer eurobert jina_embeddings_v3 neomme esm".split(), _ROTARY)
    | dict.fromkeys("mpnet deberta deberta-v2 t5 mt5 umt5 xlnet funnel".split(), _BIAS)
    | dict.fromkeys(
        "longformer big_bird led nystromformer yoso mra reformer".split(), "sparse or approximate attention"
    )
    | dict.fromkeys("gpt2 gpt_neo gpt_neox llama mistral qwen2 qwen3 gemma gemma2 gemma3 opt phi3".split(), "a decoder")
    | dict.fromkeys("bart mbart pegasus marian encoder-decoder whisper".split(), "an encoder with a decoder")
    | {"convbert": "convolutions", "squeezebert": "grouped convolutions", "fnet": "Fourier transforms"}
)
# Keys that change what a model computes: the values under which they change nothing, and what any other means. An
# absent key and null are such values for each of them.
_NEUTRAL: Mapping[str, tuple[tuple[Any, ...], str]] = MappingProxyType(
    {
        "auto_map": (
            ({},),
            "the model comes with code of its own, which is never run; remove the key only if {family}",
        ),
        "position_embedding_type": (
            ("absolute",),
            "positions that enter attention itself are not compiled, and not known to transformers 5",
        ),
        "is_decoder": ((False,), "attention would look back only, and encoders alone are compiled"),
        "add_cross_attention": ((False,), "attention would read a second model, and encoders alone are compiled"),
        "is_encoder_decoder": ((False,), "encoders alone are compiled"),
        "pruned_heads": (({},), "transformers 5 ignores it; save the model with transformers 4 without pruned heads"),
        "quantization_config": (({},), "quantised weights are not read; take the model that it was made from"),
        "compression_config": (({},), "compressed weights are not read; take the model that it was made from"),
        "per_layer_config": (({},), "layers that differ are not compiled"),
        "transformers_weights": ((), "weights are read from model.safetensors alone; rename the file"),
        "quant_mode": ((False,), "integer arithmetic is not compiled"),
        "adapters": (({},), "adapters are not compiled; merge them and save the whole model"),
        "output_attentions": ((False,), "attention's weights are never written to memory; ask for them elsewhere"),
        "directionality": (("bidi",), "attention in both directions alone is compiled"),
    }
)
# Activations that are compiled, as transformers names them.
ACTIVATIONS = (
    *("silu", "swish", "quick_gelu"),
    *("gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate"),
    *("relu", "tanh", "sigmoid", "linear"),
)
_NORMALISATIONS = ("layer_norm", "no_norm")  # MobileBERT's
# A key that the family does not read, though its name says that it would change the computation; the values of such
# keys that change nothing are those that say no, or, for some, those that say yes.
_TELLING = re.compile(
    "position|pos_|rotary|rope|alibi|relative|attention|attn|norm|activation|linearity|(^|_)act(_|$)|ffn|mlp"
    "|feed_?forward|expert|moe|window|residual|glu|bias|decoder|cross(?!_entropy|_val)|causal|direction|adapter|lora|prun|quant|sparse"
    "|layer|heads?(_|$)|scal|softcap|conv(_|$|olution)|embed|token_type|multiplier"
)
_SILENT = re.compile(
    "dropout|layerdrop|^emb(edding)?_(size|dim)$|freez|frozen|decay|learning_rate|loss|pool|^summary_|^sbert_|^output_|_token_id$|gradient|initializer|^_"
    "|attn_implementation|down_scale_factor|memory_efficient|sentence_transformers|^tie_(weights_|encoder_decoder)$"
)
_USUAL = ("absolute", "none", "full", "original_full")
_NEEDED = re.compile("bias$|bidirectional|^use_.*(embed|token_type)")
# Keys that say how a model was trained, stored or shown: the configuration is made without them.
_UNREAD = ("dtype", "use_cache", "return_dict", "problem_type", "transformers_version", "label2id")


def load_config(directory: Path) -> Any:
    """The configuration of a checkpoint as transformers' object, made of the keys that its class declares.

    Feed-forward chunks, which change the memory that is needed and no number, are put together.

    Raises:
        DataFileError: ``config.json`` is missing or damaged, describes a model that cannot be compiled, or holds a
            value that no model has; the key is named.
    """
    config, path = read_config(directory), directory / CONFIG
    check_config(config, path)
    return _make(config, path)


def check_config(config: Mapping[str, Any], path: Path) -> None:
    """Whether a configuration describes a model that can be compiled, as far as can be told without transformers.

    Raises:
        DataFileError: it does not; the key is named.
    """
    _check_uncompiled(config, path)
    _check_neutral(config, path)
    family = _family(config, path)
    _check_sizes(config, path)
    _check_heads(config, family, path)
    _check_functions(config, family, path)
    _check_numbers(config, family, path)
    _check_outputs(config, path)


def _refuse(path: Path, key: str, value: Any, problem: str) -> DataFileError:
    shown = repr(value)
    return DataFileError(path, f"{key} is {shown if len(shown) < 80 else shown[:76] + ' ...'}: {problem}")


def _check_neutral(config: Mapping[str, Any], path: Path) -> None:
    for key, (neutral, problem) in _NEUTRAL.items():
        value = config.get(key)
        if (
            value is not None
            and not _is_hollow(value, neutral)
            and not any(type(value) is type(one) and value == one for one in neutral)
        ):
            family = f"{config.get('model_type')!r} of transformers itself computes the same"
            raise _refuse(path, key, value, problem.format(family=family))


def _is_hollow(value: Any, neutral: tuple[Any, ...]) -> bool:
    """Whether an object that may be empty holds empty objects alone."""
    return {} in neutral and isinstance(value, dict) and all(part in ({}, []) for part in value.values())


def _check_uncompiled(config: Mapping[str, Any], path: Path) -> None:
    kind = config.get("model_type")
    reason = _UNCOMPILED.get(kind) if isinstance(kind, str) else None
    if reason:
        raise _refuse(path, "model_type", kind, f"{reason}, not compiled, from ONNX neither; {_known()}")


def _family(config: Mapping[str, Any], path: Path) -> Family:
    kind = config.get("model_type")
    if kind is None:
        raise DataFileError(path, f"lacks model_type, which says what the tensors belong to; {_known()}")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise _refuse(path, "model_type", kind, f"not compiled from a checkpoint; {_known()}")
    return FAMILIES[kind]


def _known() -> str:
    return f"known: {', '.join(sorted(FAMILIES))}"


def _check_sizes(config: Mapping[str, Any], path: Path) -> None:
    for key in _SIZES:
        largest = _LARGEST["layers" if key in _LAYERS else "size"]
        if key in config and not _is_integer(config[key], 1, largest):
            raise _refuse(path, key, config[key], f"a whole number from 1 to {largest} is expected")


def _check_heads(config: Mapping[str, Any], family: Family, path: Path) -> None:
    heads = config.get(family.heads, config.get("num_attention_heads"))
    if not isinstance(heads, int):
        raise DataFileError(path, f"lacks {family.heads}, which no tensor's shape tells")
    if family.shared_layers and "num_hidden_layers" not in config:
        raise DataFileError(path, "lacks num_hidden_layers, which no tensor tells where layers share their weights")
    for width in ("hidden_size",) if config.get("use_bottleneck") is False else family.widths:
        value = config.get(width, heads)
        if value % heads:
            raise DataFileError(path, f"{family.heads} is {heads}, which does not divide {width} {value}")


def _check_functions(config: Mapping[str, Any], family: Family, path: Path) -> None:
    for key, known in ((family.activation, ACTIVATIONS), ("normalization_type", _NORMALISATIONS)):
        if key in config and config[key] not in known:
            raise _refuse(path, key, config[key], f"not among what is compiled: {', '.join(known)}")


def _check_numbers(config: Mapping[str, Any], family: Family, path: Path) -> None:
    epsilon = config.get("layer_norm_eps", 1e-12)
    if not _is_number(epsilon) or not 0 < epsilon < 1:
        raise _refuse(path, "layer_norm_eps", epsilon, "a number between 0 and 1 is expected")
    for key, rate in config.items():
        if "dropout" in key and rate is not None and not (_is_number(rate) and 0 <= rate <= 1):
            raise _refuse(path, key, rate, "a rate from 0 to 1 is expected")
    chunk = config.get("chunk_size_feed_forward", 0)
    if not _is_integer(chunk, 0, _LARGEST["size"]):
        raise _refuse(path, "chunk_size_feed_forward", chunk, "a whole number is expected")
    padding = config.get("pad_token_id", 0)
    if padding is None and not family.padded_positions:
        return
    if not _is_integer(padding, 0, config.get("vocab_size", _LARGEST["size"]) - 1):
        raise _refuse(path, "pad_token_id", padding, "the id of a token is expected")


def _check_outputs(config: Mapping[str, Any], path: Path) -> None:
    states = config.get("output_hidden_states")
    if states is not None and not isinstance(states, bool):
        raise _refuse(path, "output_hidden_states", states, "true or false is expected")
    names = config.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _refuse(path, "architectures", names, "a list of names is expected")
    labels, number = config.get("id2label"), config.get("num_labels")
    if number is not None and not _is_integer(number, 1, _LARGEST["labels"]):
        raise _refuse(path, "num_labels", number, f"a whole number from 1 to {_LARGEST['labels']} is expected")
    if labels is None:
        return
    if not isinstance(labels, dict) or not labels or not all(key.isdecimal() for key in labels):
        raise _refuse(path, "id2label", labels, "an object of labels by their number is expected")
    if number not in (None, len(labels)):
        raise DataFileError(path, f"num_labels is {number}, but id2label names {len(labels)}")


def _is_integer(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _make(config: Mapping[str, Any], path: Path) -> Any:
    """The object, of declared keys."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING[config["model_type"]]
    aliases, declared = kind.attribute_map, {field.name for field in fields(kind)}
    _check_undeclared([key for key in config if key not in declared | aliases.keys()], config, path)
    _check_aliases(aliases, config, path)
    read = {aliases.get(key, key): value for key, value in config.items() if key in declared | aliases.keys()}
    settings = {key: value for key, value in read.items() if key not in _UNREAD and not _is_absent(key, value)}
    labels = config.get("num_labels") if config.get("id2label") is None else None
    try:
        return kind(**settings | {"chunk_size_feed_forward": 0} | ({"num_labels": labels} if labels else {}))
    except (StrictDataclassError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        problem = " ".join(str(error).split()).removeprefix("Validation error for ")
        raise DataFileError(path, problem or type(error).__name__) from error


def _is_absent(key: str, value: Any) -> bool:
    return value is None and key in _NEUTRAL


def _check_undeclared(keys: Sequence[str], config: Mapping[str, Any], path: Path) -> None:
    kind = config["model_type"]
    for key in keys:
        if key not in _NEUTRAL and _may_change(key.lower(), config[key]):
            raise _refuse(path, key, config[key], f"{kind} does not read this key; remove it if it changes nothing")


def _may_change(key: str, value: Any) -> bool:
    """Whether a key that is not read would, by its name and value, change what a model computes."""
    if value is None or _SILENT.search(key) or not _TELLING.search(key):
        return False
    return value is not True if _NEEDED.search(key) else bool(value) and value not in _USUAL


def _check_aliases(aliases: Mapping[str, str], config: Mapping[str, Any], path: Path) -> None:
    for alias, key in aliases.items():
        if alias in config and key in config and config[alias] != config[key]:
            raise DataFileError(path, f"{alias} is {config[alias]!r} but {key}, its other name, {config[key]!r}")
