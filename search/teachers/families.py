"""Families of pre-trained models that compute what a BERT computes, taken as ``BertModel`` whatever they are called.

DistilBERT has other names and no token types; RoBERTa, XLM-RoBERTa and CamemBERT count positions from behind the
padding token's id; ELECTRA's and ALBERT's embeddings may be narrower than the encoder (see
:mod:`search.learning.factorised_embeddings`); ALBERT's layers share their weights, which are copied out, and are
trained apart from then on. Hidden states are those of the family's own class. Only where dropout acts in training may
differ: DistilBERT has none behind its attention, ALBERT none behind its feed-forward layers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from fusion.checkpoints.files import read_config
from search.learning.factorised_embeddings import EMBEDDING_SIZE, restore_factorised_embeddings
from search.learning.training import TRAINING_ATTENTION
from search.teachers.stored_heads import LEFT_OUT, stored_head

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = dict[str, Tensor]

_DISTILBERT_EPSILON = 1e-12  # written into its code


@dataclass(frozen=True)
class _Family:
    """What sets a family apart: how its settings and its encoder's tensors are called.

    ``names`` are (pattern, replacement), tried in turn; ``others`` are settings that the family calls otherwise than
    BERT does. ``padded_positions``: the position table begins with rows that no token has, up to ``pad_token_id``.
    """

    names: tuple[tuple[str, str], ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    padded_positions: bool = False


_ROBERTA = _Family(padded_positions=True)
_FAMILIES: Mapping[str, _Family] = MappingProxyType(
    {
        "albert": _Family(
            names=(
                (r"^encoder\.embedding_hidden_mapping_in\.", "embeddings.projection."),
                (r"\.attention\.(query|key|value)\.", r".attention.self.\1."),
                (r"\.attention\.(dense|LayerNorm)\.", r".attention.output.\1."),
                (r"\.ffn\.", ".intermediate.dense."),
                (r"\.ffn_output\.", ".output.dense."),
                (r"\.full_layer_layer_norm\.", ".output.LayerNorm."),
                (r"^pooler\.", "pooler.dense."),
            ),
            others=(("classifier_dropout", "classifier_dropout_prob"),),
        ),
        "bert": _Family(),
        "camembert": _ROBERTA,
        "distilbert": _Family(
            names=(
                (r"^transformer\.", "encoder."),
                (r"\.attention\.q_lin\.", ".attention.self.query."),
                (r"\.attention\.k_lin\.", ".attention.self.key."),
                (r"\.attention\.v_lin\.", ".attention.self.value."),
                (r"\.attention\.out_lin\.", ".attention.output.dense."),
                (r"\.sa_layer_norm\.", ".attention.output.LayerNorm."),
                (r"\.ffn\.lin1\.", ".intermediate.dense."),
                (r"\.ffn\.lin2\.", ".output.dense."),
                (r"\.output_layer_norm\.", ".output.LayerNorm."),
            ),
            others=(
                ("intermediate_size", "hidden_dim"),
                ("hidden_act", "activation"),
                ("hidden_dropout_prob", "dropout"),
                ("attention_probs_dropout_prob", "attention_dropout"),
                ("classifier_dropout", "seq_classif_dropout"),
            ),
        ),
        "electra": _Family(names=((r"^embeddings_project\.", "embeddings.projection."),)),
        "roberta": _ROBERTA,
        "xlm-roberta": _ROBERTA,
    }
)
TEACHER_FAMILIES = tuple(_FAMILIES)

# Settings that a family may lack, because it always has this value.
_CONSTANT = MappingProxyType({"layer_norm_eps": _DISTILBERT_EPSILON, "type_vocab_size": 1})
_SETTINGS = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "max_position_embeddings"),
    *("type_vocab_size", "layer_norm_eps", "initializer_range", "pad_token_id", "bos_token_id", "eos_token_id"),
)


@dataclass(frozen=True)
class LoadedEncoder:
    """A pre-trained encoder as a ``BertModel`` in fp32, on the CPU, evaluating.

    ``family`` is its ``model_type``. ``classifier`` holds the stored weight (labels, hidden) and bias (labels,) of a
    linear classifier on the pooler, None where there is none. ``remarks`` say what was left out, and what is new.
    """

    model: Any
    family: str
    classifier: tuple[Tensor, Tensor] | None
    remarks: tuple[str, ...]


def check_family(source: Path) -> str:
    """The ``model_type`` of a folder, which is one of ``TEACHER_FAMILIES``.

    Raises:
        InputError: it is not; what can be a teacher is named.
    """
    kind = read_config(source).get("model_type")
    if not isinstance(kind, str) or kind not in _FAMILIES:
        raise InputError(
            f"teacher {source}: model_type in config.json is {kind!r}, which is not known to compute what a BERT "
            f"computes; a teacher can be any of {', '.join(TEACHER_FAMILIES)}"
        )
    return kind


def bert_config(source: Path) -> Any:
    """The ``BertConfig`` of a folder of any family: what its encoder is once it is taken as a BERT.

    ``max_position_embeddings`` counts the positions that tokens can have, ``type_vocab_size`` is 1 where the family
    has no token types; ``embedding_size`` is set for narrow embeddings alone. What heads need is not in it.

    Raises:
        InputError: the folder's model is of none of ``TEACHER_FAMILIES``, or has too few positions.
        DataFileError: its configuration is not one that can be compiled; the key is named.
    """
    from fusion.checkpoints.configuration import load_config
    from fusion.checkpoints.loading import quiet_transformers

    check_family(source)
    with quiet_transformers():
        return _as_bert(load_config(source), source)


def load_encoder(source: Path, seed: int = 0) -> LoadedEncoder:
    """The encoder of a Hugging Face folder of any of ``TEACHER_FAMILIES``.

    A pooler is taken where one is stored (RoBERTa's classifiers have it in their head), else drawn with ``seed``; the
    heads of masked language models and others are left out. Half precision is read as fp32.

    Raises:
        InputError: as :func:`bert_config`.
        DataFileError: tensors of the encoder are missing, left over, quantised or not finite, or of other shapes than
            the configuration says; they are named.
    """
    import torch
    from transformers import BertModel

    from fusion.checkpoints.loading import quiet_transformers

    config, family = bert_config(source), check_family(source)
    config._attn_implementation = TRAINING_ATTENTION
    stored = stored_head(source, family, config.hidden_size)
    own = _load_own(source, may_lack_pooler=not stored.has_pooler)
    with quiet_transformers(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = restore_factorised_embeddings(BertModel(config))
    tensors = _as_bert_tensors(own.state_dict(), own.config, config)
    if not stored.has_pooler:
        drawn = {f"dense.{name}": values for name, values in model.pooler.dense.state_dict().items()}
        tensors |= {f"pooler.{name}": values for name, values in (stored.pooler or drawn).items()}
    model.load_state_dict(tensors)
    return LoadedEncoder(model.eval(), family, stored.classifier, stored.remarks)


def with_head(kind: Any, encoder: LoadedEncoder, **settings: Any) -> Any:
    """A model of class ``kind`` around an encoder, which becomes part of it.

    Its head is drawn with torch's generator; a stored classifier of as many labels is taken instead.

    Args:
        kind: ``BertForSequenceClassification``, ``BertForTokenClassification`` or another of BERT's.
        encoder: What to put in it; its pooler is dropped where ``kind`` has none.
        settings: Of the configuration, such as ``num_labels`` or ``id2label``.
    """
    import torch

    config = encoder.model.config
    config.update(settings)
    # Nothing is drawn for the encoder, whose place is taken: the head is the same whatever the encoder's size.
    with torch.device("meta"):
        model = kind(config)
    wants_pooler = model.base_model.pooler is not None
    setattr(model, model.base_model_prefix, encoder.model)
    if not wants_pooler:
        encoder.model.pooler = None
    for name, module in model.named_children():
        if name != model.base_model_prefix:
            module.to_empty(device="cpu").apply(model._init_weights)
    if wants_pooler and encoder.classifier is not None and model.classifier.weight.shape == encoder.classifier[0].shape:
        with torch.no_grad():
            model.classifier.weight.copy_(encoder.classifier[0])
            model.classifier.bias.copy_(encoder.classifier[1])
    return model.eval()


def _load_own(source: Path, may_lack_pooler: bool) -> Any:
    """The encoder as a model of its family's own class, checked."""
    from fusion.checkpoints.configuration import load_config
    from fusion.checkpoints.heads import encoder_class
    from fusion.checkpoints.loading import POOLER_TENSORS, load_model, quiet_transformers

    with quiet_transformers():
        kind = encoder_class(load_config(source), source)
        may_lack = POOLER_TENSORS if may_lack_pooler else ()
        return load_model(kind, source, TRAINING_ATTENTION, may_lack=may_lack, may_leave=LEFT_OUT)


def _as_bert(config: Any, source: Path) -> Any:
    from transformers import BertConfig

    family = _FAMILIES[config.model_type]
    others = dict(family.others)
    values: dict[str, Any] = {name: getattr(config, others.get(name, name), _CONSTANT.get(name)) for name in _SETTINGS}
    # ALBERT's inner groups are layers of their own.
    values["num_hidden_layers"] *= getattr(config, "inner_group_num", 1)
    if family.padded_positions:
        values["max_position_embeddings"] -= config.pad_token_id + 1
        if values["max_position_embeddings"] < 1:
            raise InputError(
                f"teacher {source}: max_position_embeddings in config.json is {config.max_position_embeddings}, of "
                f"which {config.model_type} keeps {config.pad_token_id + 1} for padding: none are left"
            )
    found = BertConfig(**values)
    if _is_narrow(config):
        setattr(found, EMBEDDING_SIZE, config.embedding_size)
    return found


def _is_narrow(config: Any) -> bool:
    """ALBERT has the projection at any size, ELECTRA where the sizes differ."""
    if config.model_type == "electra":
        return bool(config.embedding_size != config.hidden_size)
    return bool(config.model_type == "albert")


def _as_bert_tensors(own: Mapping[str, Tensor], config: Any, bert: Any) -> Tensors:
    """A family's tensors under BERT's names."""
    import torch

    family = _FAMILIES[config.model_type]
    rename = _renaming(family.names)
    layers = _unshared(own, config) if config.model_type == "albert" else own
    tensors = {rename(name): values for name, values in layers.items()}
    kinds, positions = "embeddings.token_type_embeddings.weight", "embeddings.position_embeddings.weight"
    tensors.setdefault(kinds, torch.zeros(1, bert.hidden_size))
    tensors[positions] = tensors[positions][-bert.max_position_embeddings :]
    return tensors


def _renaming(names: tuple[tuple[str, str], ...]) -> Callable[[str], str]:
    def rename(name: str) -> str:
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        return name

    return rename


def _unshared(own: Mapping[str, Tensor], config: Any) -> Tensors:
    """ALBERT's tensors with those of its groups copied to each layer that uses them."""
    groups, inner = config.num_hidden_groups, config.inner_group_num
    shared = re.compile(r"^encoder\.albert_layer_groups\.(\d+)\.albert_layers\.(\d+)\.")
    tensors = {name: values for name, values in own.items() if not shared.match(name)}
    for number in range(config.num_hidden_layers):
        group = int(number / (config.num_hidden_layers / groups))
        for part in range(inner):
            old = f"encoder.albert_layer_groups.{group}.albert_layers.{part}."
            new = f"encoder.layer.{number * inner + part}."
            tensors |= {new + name.removeprefix(old): own[name] for name in own if name.startswith(old)}
    return tensors
