"""Hugging Face checkpoints as models of transformers, checked while they are loaded: no part is random, lost or NaN."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data.errors import DataFileError, ModelError, first_line
from fusion.checkpoints.configuration import load_config
from fusion.checkpoints.files import BUFFERS, TensorHeader, check_finite, check_floating_point, count_of, tensor_headers
from fusion.checkpoints.heads import encoder_class, head_classes, is_encoder

# Patterns of tensors' names, from the start of a name: what a model may lack, or a checkpoint hold in excess.
POOLER_TENSORS = (r"(\w+\.)?pooler\.",)
HEAD_TENSORS = (
    r"(pre_)?classifier\.",
    r"classification_head\.",
    r"score\.",
    r"qa_outputs\.",
    r"cls\.",
    r"lm_head\.",
    r"predictions\.",
    r"sop_classifier\.",
    r"vocab_(transform|layer_norm|projector)\.",
    r"(discriminator|generator)_(predictions|lm_head)\.",
)
# What pre-training leaves beside a masked language model that config.json names: the choice of the next sentence.
_BESIDE_MASKED_LM = (r"cls\.seq_relationship\.", r"sop_classifier\.")
_NEW_NAMES = MappingProxyType({"gamma": "weight", "beta": "bias"})
# A configuration may ask for more weights than are stored (a new head), but not for many times as many.
_SPARE_WEIGHTS = 1 << 24


def load_checkpoint(directory: Path, attention: str | None = "eager", encoder_only: bool = False) -> Any:
    """The model on the CPU, with the head that ``config.json`` names, or else the one whose tensors are all stored.

    ``attention`` is one of transformers' implementations, None leaves the choice to it. ``encoder_only`` asks for the
    encoder whatever head is named; none may be stored. A pooler that is not stored is left out.

    Raises:
        DataFileError: as :func:`load_model`.
        ModelError: it has a head that is not compiled, or one that cannot be told; see :mod:`fusion.checkpoints.heads`.
    """
    config = _config(directory)
    classes = (encoder_class(config, directory),) if encoder_only else head_classes(config, directory)
    kind = classes[0] if len(classes) == 1 else _filled_class(directory, config, classes)
    if encoder_only:
        _check_headless(directory)
    may_leave = POOLER_TENSORS if encoder_only else _may_leave(kind)
    model = load_model(kind, directory, attention, POOLER_TENSORS if is_encoder(kind) else (), may_leave)
    if is_encoder(kind) and _has_pooler(dict(model.named_parameters())) and not _has_pooler(tensor_headers(directory)):
        model.pooler = None
    return model


def load_model(
    kind: Any,
    directory: Path,
    attention: str | None = "eager",
    may_lack: Sequence[str] = (),
    may_leave: Sequence[str] = (),
    **changes: Any,
) -> Any:
    """A checkpoint as a model in fp32, whatever it is stored in, on the CPU and ready to evaluate.

    Code that comes with a checkpoint is never run. All of the model's tensors are stored, all that is stored is in
    the model, shapes agree, and every weight is finite, but for what is allowed here:

    Args:
        kind: A class of transformers, such as ``BertForMaskedLM``.
        directory: Configuration and safetensors, whole or sharded.
        attention: One of transformers' implementations; None leaves the choice to it.
        may_lack: Patterns of names of tensors that are drawn anew where they are not stored, or stored in another
            shape. Compile nothing that reads them. A teacher that is to be trained may lack :data:`POOLER_TENSORS`
            and :data:`HEAD_TENSORS` and nothing else.
        may_leave: Patterns of names of stored tensors that the model does not take, such as another head that is
            replaced.
        changes: Values of the configuration to set, such as ``num_labels``.

    Raises:
        DataFileError: the checkpoint is missing, damaged, quantised, or of a kind that is not compiled; the tensors
            (how many, and the first few) or the configuration's key are named.
    """
    config, headers = _config(directory), tensor_headers(directory)
    for key, value in changes.items():
        setattr(config, key, value)
    check_floating_point(headers, directory)
    model, report = _load(kind, config, headers, directory, attention)
    _check_names(model, headers, directory)
    _check_report(model, report, may_lack, may_leave, directory)
    _check_values(model, directory)
    _check_ties(model, headers, directory)
    _check_buffers(headers, directory)
    return model.cpu().eval()


def _config(directory: Path) -> Any:
    with quiet_transformers():
        return load_config(directory)


def _check_headless(directory: Path) -> None:
    """No head is stored that an embedding would drop."""
    heads = [name for name in tensor_headers(directory) if any(re.match(pattern, name) for pattern in HEAD_TENSORS)]
    if heads:
        raise ModelError(
            f"{directory}: holds a head, {count_of(heads)}, which the embedding that modules.json describes drops; "
            "take modules.json and the pooling's folder away to compile the head, or save the encoder without it"
        )


def _has_pooler(names: Iterable[str]) -> bool:
    return any(re.match(POOLER_TENSORS[0], name) for name in names)


def _may_leave(kind: Any) -> Sequence[str]:
    """What a class does not take of a checkpoint that names it: nothing reads a pooler beside most heads."""
    if is_encoder(kind):
        return ()
    return (*POOLER_TENSORS, *_BESIDE_MASKED_LM) if kind.__name__.endswith("ForMaskedLM") else POOLER_TENSORS


def _load(
    kind: Any, config: Any, headers: Mapping[str, TensorHeader], directory: Path, attention: str | None
) -> tuple[Any, Mapping[str, Any]]:
    """A model, and transformers' report of missing, unexpected and mismatched tensors."""
    with quiet_transformers(), _loading_errors(directory):
        _check_extent(kind, config, headers, directory)
        model, report = kind.from_pretrained(
            directory,
            config=config,
            dtype="float32",
            attn_implementation=attention,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    return model, report


def _filled_class(directory: Path, config: Any, classes: Sequence[Any]) -> Any:
    """The first class that has a place for every stored tensor, and a stored tensor for every place but a pooler's."""
    headers, problem = tensor_headers(directory), ""
    for kind in classes:
        _, report = _load(kind, config, headers, directory, None)
        lacking, left = _unfilled(report, POOLER_TENSORS if is_encoder(kind) else (), ())
        if not lacking and not left:
            return kind
        problem = problem or count_of(left or lacking)
    raise ModelError(
        f"{directory}: {problem} belong to none of {', '.join(kind.__name__ for kind in classes)}; "
        "name the model's class in config.json's architectures, or save it without them"
    )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keeps transformers' notices (new classifier head, progress bars of loading) off the terminal."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _loading_errors(directory: Path) -> Iterator[None]:
    """Whatever transformers makes of a checkpoint that it cannot take, as one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        problem = first_line(error)
        raise DataFileError(directory, f"no Hugging Face checkpoint ({problem})") from error


def _check_extent(kind: Any, config: Any, headers: Mapping[str, TensorHeader], directory: Path) -> None:
    """A model about as large as what is stored, before memory is taken for it."""
    import torch

    with torch.device("meta"):
        described = sum(parameter.numel() for parameter in kind(config).parameters())
    stored = sum(math.prod(header.shape) for header in headers.values())
    if described > 2 * stored + _SPARE_WEIGHTS:
        raise DataFileError(directory, f"config.json describes {described} weights, where {stored} are stored")


def _check_names(model: Any, headers: Mapping[str, TensorHeader], directory: Path) -> None:
    """No two stored tensors become the same tensor of the model: transformers adds or removes the encoder's prefix,
    and knows older names of normalisations."""
    places = Counter(_place(name, model.base_model_prefix) for name in headers)
    twice = [name for name in headers if places[_place(name, model.base_model_prefix)] > 1]
    if twice:
        raise DataFileError(directory, f"{count_of(twice)} stand for the same weights under two names")


def _place(name: str, prefix: str) -> str:
    name = name.removeprefix(f"{prefix}.")
    return re.sub(r"LayerNorm\.(gamma|beta)$", lambda old: f"LayerNorm.{_NEW_NAMES[old[1]]}", name)


def _check_report(
    model: Any, report: Mapping[str, Any], may_lack: Sequence[str], may_leave: Sequence[str], directory: Path
) -> None:
    """What transformers says of its loading."""
    lacking, left = _unfilled(report, may_lack, may_leave)
    shapes = {name: f"{name} is {list(stored)}, not {list(own)}" for name, stored, own in report["mismatched_keys"]}
    misshapen = [shapes[name] for name in _not_among(shapes, may_lack)]
    problems = ((lacking, "missing"), (left, "left over"), (misshapen, "of another shape"))
    found = "; ".join(f"{count_of(names)} {problem}" for names, problem in problems if names)
    if found:
        advice = "name the class that takes them in architectures" if left and not lacking else "save the model again"
        raise DataFileError(directory, f"does not fit {type(model).__name__} of its config.json: {found}; {advice}")


def _unfilled(
    report: Mapping[str, Any], may_lack: Sequence[str], may_leave: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Tensors that the model lacks, and stored ones that it does not take."""
    left = _not_among(report["unexpected_keys"], may_leave)
    return _not_among(report["missing_keys"], may_lack), [name for name in left if not BUFFERS.search(name)]


def _not_among(names: Any, patterns: Sequence[str]) -> list[str]:
    return [name for name in names if not any(re.match(pattern, name) for pattern in patterns)]


def _check_ties(model: Any, headers: Mapping[str, TensorHeader], directory: Path) -> None:
    """Weights that the configuration ties have one value, also where both are stored."""
    import torch

    stored = {_place(name, model.base_model_prefix): name for name in headers}
    for pair in model.get_expanded_tied_weights_keys(all_submodels=True).items():
        names = [stored[place] for place in (_place(name, model.base_model_prefix) for name in pair) if place in stored]
        if len(names) == len(pair) and not torch.equal(*(_tensor(name, headers) for name in names)):
            raise DataFileError(directory, f"{' and '.join(names)} differ, though config.json ties them: one is wrong")


def _check_buffers(headers: Mapping[str, TensorHeader], directory: Path) -> None:
    """Positions and token types that are stored are those that the model counts by itself."""
    import torch

    for name in filter(BUFFERS.search, headers):
        values = _tensor(name, headers).flatten()
        counted = torch.arange(len(values)) * int(name.endswith("position_ids"))
        if not torch.equal(values, counted.to(values.dtype)):
            raise DataFileError(directory, f"{name} holds other values than the model counts, which are not compiled")


def _tensor(name: str, headers: Mapping[str, TensorHeader]) -> Any:
    from safetensors import safe_open

    with safe_open(headers[name].file, "pt") as file:
        return file.get_tensor(name)


def _check_values(model: Any, directory: Path) -> None:
    """Every weight is a finite number, also in fp32."""
    weights = model.state_dict().items()
    bad = [name for name, weight in weights if weight.is_floating_point() and not weight.isfinite().all()]
    check_finite(directory, bad)
