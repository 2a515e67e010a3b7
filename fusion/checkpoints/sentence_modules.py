"""What a sentence-transformers folder says: ``modules.json`` and the configurations that it points at, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data.errors import DataFileError, ModelError
from fusion.checkpoints.files import is_there, read_object, read_objects

MODULES_FILE = "modules.json"
# Weighted means and the last token need to know where in the sequence the mask's bits lie, which no block computes.
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens")
# What follows the pooling, by the class's name; a dropout does nothing outside training.
VECTOR_MODULES = ("Dense", "LayerNorm", "Normalize", "Dropout")
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid")

_PACKAGE = "sentence_transformers."
_FIRST, _SECOND = "Transformer", "Pooling"
# What the encoder is asked for, and the modules that begin a folder of that kind: a pooled embedding, or the scores of
# a cross-encoder, which has no further module.
_EMBEDDING, _SCORES = "feature-extraction", "sequence-classification"
_BEGINNINGS: Mapping[str, list[str]] = MappingProxyType({_EMBEDDING: [_FIRST, _SECOND], _SCORES: [_FIRST]})
# Older releases named the file after the kind of model.
_LENGTH_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# Switches of older releases, in the order in which these put the parts together.
_SWITCHES: Mapping[str, str] = MappingProxyType(
    {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens": "weightedmean",
        "pooling_mode_lasttoken": "lasttoken",
    }
)
_POOLING_KEYS = {"word_embedding_dimension", "embedding_dimension", "pooling_mode", "include_prompt", *_SWITCHES}
# Where a module reads and writes, and what it reads of: with other values it computes something else.
_EXPECTED: Mapping[str, Any] = MappingProxyType(
    {
        "module_input_name": "sentence_embedding",
        "module_output_name": "sentence_embedding",
        "include_prompt": True,
    }
)
# A head that SetFit keeps beside the embedding: a pickle of scikit-learn's.
HEAD_FILE = "model_head.pkl"
# What the encoder gives on to the pooling or, of a cross-encoder, as scores.
_ENCODER_OUTPUTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {_EMBEDDING: ("last_hidden_state", "token_embeddings"), _SCORES: ("logits", "scores")}
)
_WIDTH_KEYS: Mapping[str, str] = MappingProxyType({"Dense": "in_features", "LayerNorm": "dimension"})
_NO_LIMIT = 1_000_000  # tokenizers without a limit state 1e30


@dataclass(frozen=True)
class VectorModule:
    """A module behind the pooling: its class's name, its folder, and its configuration."""

    kind: str
    folder: Path
    config: Mapping[str, Any]

    def size(self, key: str) -> int:
        """A size that the configuration states, ``DataFileError`` when it states none."""
        return _whole(self.config.get(key), self.folder / "config.json", key)

    def switch(self, key: str, default: bool) -> bool:
        """A setting that is on or off, ``DataFileError`` when it is neither."""
        return _switch(self.config, key, default, self.folder / "config.json")


@dataclass(frozen=True)
class SentenceModules:
    """A sentence-transformers folder: the encoder's folder, poolings side by side, what follows them.

    A cross-encoder, which scores with its head, has no poolings.
    ``max_seq_length`` is where texts are cut, None when nothing says so; ``limited_by`` names file and key.
    """

    encoder: Path
    poolings: tuple[str, ...]
    width: int | None
    vector_modules: tuple[VectorModule, ...]
    max_seq_length: int | None
    limited_by: str

    def check_widths(self, hidden: int) -> None:
        """``ModelError`` when one of the modules takes another width than the one before it gives, from an encoder of
        ``hidden`` columns on."""
        if self.width not in (None, hidden):
            raise ModelError(f"{self.encoder}: the pooling is of {self.width!r} columns, the encoder of {hidden}")
        width = hidden * len(self.poolings)
        for module in self.vector_modules:
            taken = _WIDTH_KEYS.get(module.kind)
            if taken is not None and module.size(taken) != width:
                place = module.folder / "config.json"
                raise ModelError(
                    f"{place}: {taken} is {module.size(taken)}, but the module before gives {width} columns"
                )
            width = module.size("out_features") if module.kind == "Dense" else width


def is_sentence_folder(directory: Path) -> bool:
    """Whether a directory describes a sentence-transformers model, be it that the description was lost."""
    return is_there(directory / MODULES_FILE) or any(directory.glob("*_Pooling/config.json"))


def read_sentence_modules(directory: Path) -> SentenceModules:
    """The folder's modules.

    Raises:
        DataFileError: a file is missing or damaged.
        ModelError: a module, or a setting of one, is not compiled; the message names it.
    """
    entries = [_entry(directory, entry) for entry in read_objects(directory / MODULES_FILE)]
    encoder = entries[0][1] if entries else directory
    path, settings = _encoder_settings(encoder)
    task, kinds = settings.get("transformer_task", _EMBEDDING), [kind for kind, _ in entries]
    if not isinstance(task, str) or task not in _BEGINNINGS:
        raise ModelError(f"{path}: transformer_task {task!r} is not compiled (known: {', '.join(_BEGINNINGS)})")
    _check_order(kinds, task, directory / MODULES_FILE)
    _check_settings(settings, task, path)
    _check_no_other_head(directory)
    limit, limited_by = _length_limit(encoder, path, settings)
    if task == _SCORES:
        return SentenceModules(encoder, (), None, (), limit, limited_by)
    pooling = entries[1][1] / "config.json"
    pooled = read_object(pooling)
    width = pooled.get("embedding_dimension", pooled.get("word_embedding_dimension"))
    modules = tuple(_vector_module(kind, folder) for kind, folder in entries[2:])
    return SentenceModules(encoder, _poolings(pooled, pooling), width, modules, limit, limited_by)


def _check_order(kinds: Sequence[str], task: str, place: Path) -> None:
    first = _BEGINNINGS[task]
    rest = kinds[len(first) :]
    if list(kinds[: len(first)]) != first or not set(rest) <= set(VECTOR_MODULES) or (rest and task == _SCORES):
        wanted = " and ".join(first) + (
            f", then any of {', '.join(VECTOR_MODULES)}" if task == _EMBEDDING else " alone"
        )
        raise ModelError(f"{place}: the modules are {', '.join(kinds) or 'none'}; compiled are {wanted}")


def _check_settings(settings: Mapping[str, Any], task: str, path: Path) -> None:
    """The encoder is asked for the output that its task stands for, of the configuration as it is."""
    state, output = _ENCODER_OUTPUTS[task]
    expected = {
        "module_output_name": ({}, output),
        "modality_config": ({}, {"text": {"method": "forward", "method_output_name": state}}),
        "config_args": ({}, {"trust_remote_code": False}, {"trust_remote_code": True}),
        "config_kwargs": ({}, {"trust_remote_code": False}, {"trust_remote_code": True}),
    }
    for key, values in expected.items():
        if settings.get(key) is not None and settings[key] not in values:
            raise ModelError(f"{path}: {key} {settings[key]!r} is not compiled, only {values[1]!r}")


def _check_no_other_head(directory: Path) -> None:
    path = directory / HEAD_FILE
    if is_there(path):
        raise ModelError(
            f"{path}: SetFit's head, pickled, which may run code and is never read; take it out of the folder to "
            "compile the embedding without it"
        )


def _entry(directory: Path, entry: Mapping[str, Any]) -> tuple[str, Path]:
    """A module's class, by its last name, and its folder."""
    place, kind, folder = directory / MODULES_FILE, entry.get("type"), entry.get("path")
    if not isinstance(kind, str) or not isinstance(folder, str):
        raise DataFileError(place, f"a module has no type or path: {json.dumps(entry)}")
    short = kind.rsplit(".", 1)[-1]
    if not kind.startswith(_PACKAGE) or short not in {_FIRST, _SECOND, *VECTOR_MODULES}:
        known = ", ".join((_FIRST, _SECOND, *VECTOR_MODULES))
        raise ModelError(f"{place}: module {kind!r} is not compiled (known: {known})")
    if not (directory / folder).resolve().is_relative_to(directory.resolve()):
        raise DataFileError(place, f"path {folder!r} of module {kind!r} leads out of the folder")
    return short, directory / folder


def _encoder_settings(encoder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The encoder's own settings and where they stand; none when there is no such file."""
    paths = [encoder / name for name in _LENGTH_FILES if is_there(encoder / name)]
    return (paths[0], read_object(paths[0])) if paths else (encoder / _LENGTH_FILES[0], {})


def _length_limit(encoder: Path, path: Path, settings: Mapping[str, Any]) -> tuple[int | None, str]:
    """Where sentence-transformers cuts texts: its own setting, or else the tokenizer's."""
    limit = settings.get("max_seq_length")
    if limit is not None:
        return _whole(limit, path, "max_seq_length"), f"max_seq_length {limit} of {path}"
    tokenizer = encoder / "tokenizer_config.json"
    limit = read_object(tokenizer).get("model_max_length") if is_there(tokenizer) else None
    if limit is None or (isinstance(limit, int | float) and limit > _NO_LIMIT):
        return None, ""
    return _whole(limit, tokenizer, "model_max_length"), f"model_max_length {limit} of {tokenizer}"


def _whole(value: Any, path: Path, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataFileError(path, f"{key} is {value!r}, not a positive whole number")
    return value


def _switch(settings: Mapping[str, Any], key: str, default: bool, path: Path) -> bool:
    value = settings.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise DataFileError(path, f"{key} is {value!r}, neither true nor false")
    return value


def _poolings(settings: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    unknown = sorted(settings.keys() - _POOLING_KEYS)
    if unknown:
        raise ModelError(f"{path}: {unknown[0]} is not known, so its pooling is not compiled")
    _check_expected(settings, path)
    switched = [mode for switch, mode in _SWITCHES.items() if _switch(settings, switch, False, path)]
    stated = settings.get("pooling_mode", switched or ["mean"])
    modes = tuple(stated) if isinstance(stated, list) and stated else (stated,)
    for mode in modes:
        if not isinstance(mode, str) or mode not in POOLINGS:
            raise ModelError(f"{path}: pooling {mode!r} is not compiled (known: {', '.join(POOLINGS)})")
    return modes


def _vector_module(kind: str, folder: Path) -> VectorModule:
    path = folder / "config.json"
    if kind in ("Normalize", "Dropout") and not is_there(path):
        return VectorModule(kind, folder, {})  # older releases wrote nothing
    config = read_object(path)
    _check_expected(config, path)
    return VectorModule(kind, folder, config)


def _check_expected(config: Mapping[str, Any], path: Path) -> None:
    for key, wanted in _EXPECTED.items():
        if config.get(key) not in (None, wanted):
            raise ModelError(f"{path}: {key} {config[key]!r} is not compiled, only {wanted!r}")
