"""Other people's recipes, as far as they can be followed on one task: what students begin as, and their losses.

- Half depth (DistilBERT, Sanh et al. 2019): every second layer of the teacher, copied, at the same width; the teacher's
  logits at temperature 2, labels, and the cosine of the last hidden states, weighed 5 : 2 : 1 as there. Theirs learns
  from general text first; this one from the task alone, with the teacher's pooler and token types kept.
- Bottleneck (MobileBERT, Sun et al. 2020): as many layers and heads as the teacher and as wide between the layers, a
  quarter as wide within them, four feed-forward networks a layer, ReLU, no LayerNorm, trigram embeddings. MobileBERT's
  512, 128 and 512 over a teacher of 512 become 384, 96 and 384 over all-MiniLM-L6. Embeddings and classifier are copied
  from the teacher (the word table's principal components, for it is a quarter as wide); the layers begin at random.
  Half of the steps transfer knowledge: feature maps and attention of all layers jointly; the other half learns from
  labels and the teacher's logits. Theirs learns from general text, layer after layer; this one from the task alone.
- Labels only, from random weights: what a deep and narrow model learns with no teacher at all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.architecture import Architecture
from data.errors import InputError
from data.tasks import Kind
from search.learning.encoding import MODEL_INPUTS, Encoded, pad
from search.learning.factorised_embeddings import is_factorised
from search.learning.objectives import label_loss, teacher_loss
from search.learning.task_models import load_model, new_model
from search.learning.training import TRAINING_ATTENTION, seeded, training_device
from search.learning.units import Units
from search.students.student import student_config

if TYPE_CHECKING:
    from torch import Tensor

TEMPERATURE = 2.0
SOFT_WEIGHT, LABEL_WEIGHT, COSINE_WEIGHT = 5.0, 2.0, 1.0
TRANSFER_SHARE = 0.5  # of the steps
LOGITS_SHARE = 0.5  # of the loss behind it; labels are the rest
_QUARTER = 4
_FITTED_TEXTS = 64
_LEAST = 1e-6  # of a probability


@dataclass(frozen=True)
class Batch:
    """Some padded examples with standardised ``labels``, how far the training is (0 to 1), and the task's units."""

    values: dict[str, Tensor]
    share: float
    kind: Kind
    units: Units

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What models take."""
        return {name: self.values[name] for name in MODEL_INPUTS}


@dataclass(frozen=True)
class Replay:
    """A recipe: what a student begins as, its loss of (student, teacher, batch), and how it is loaded when saved."""

    begin: Callable[[Any, Encoded, int], Any]
    loss: Callable[[Any, Any, Batch], Tensor]
    load: Callable[[Path, Kind], Any] = load_model


def half_depth() -> Replay:
    """DistilBERT's."""
    return Replay(_every_second_layer, _half_depth_loss)


def bottleneck() -> Replay:
    """MobileBERT's."""
    return Replay(_bottleneck_student, _bottleneck_loss, load_bottleneck)


def from_random(architecture: Architecture) -> Replay:
    """Labels only."""
    return Replay(partial(_random_student, architecture), _labels_only)


def _every_second_layer(teacher: Any, encoded: Encoded, seed: int) -> Any:
    import torch

    layers = teacher.bert.encoder.layer
    if len(layers) < 2:
        raise InputError("a teacher of one layer has no student of half the depth")
    student = copy.deepcopy(teacher).requires_grad_(True)
    student.bert.encoder.layer = torch.nn.ModuleList([student.bert.encoder.layer[k] for k in kept_layers(len(layers))])
    student.config.num_hidden_layers = len(student.bert.encoder.layer)
    # As when the teacher was fine-tuned: the table hardly moves.
    student.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    return student


def kept_layers(layers: int) -> list[int]:
    """Every second of the teacher's layers, from 0, first and last among them: of 12, DistilBERT's 0 2 4 7 9 11."""
    kept = layers // 2
    return [round(place * (layers - 1) / (kept - 1)) for place in range(kept)] if kept > 1 else [layers - 1]


def _half_depth_loss(student: Any, teacher: Any, batch: Batch) -> Tensor:
    import torch

    own = student(**batch.inputs, output_hidden_states=True)
    with torch.no_grad():
        wanted = teacher(**batch.inputs, output_hidden_states=True)
    logits, target = own.logits.float(), batch.units.standardised(wanted.logits.float())
    # A single value has no temperature.
    soft = teacher_loss(batch.kind, logits, target, {}) if batch.kind == "regression" else _softened(logits, target)
    cosines = torch.nn.functional.cosine_similarity(
        own.hidden_states[-1].float(), wanted.hidden_states[-1].float(), dim=2
    )
    mask = batch.values["attention_mask"]
    apart = ((1.0 - cosines) * mask).sum() / mask.sum()
    return SOFT_WEIGHT * soft + LABEL_WEIGHT * label_loss(batch.kind, logits, batch.values) + COSINE_WEIGHT * apart


def _softened(logits: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence at the temperature, times its square, as a mean over the batch."""
    from torch.nn.functional import kl_div, log_softmax

    own, wanted = (log_softmax(values / TEMPERATURE, dim=1) for values in (logits, target))
    return kl_div(own, wanted, reduction="batchmean", log_target=True) * TEMPERATURE**2


def bottleneck_config(teacher: Any) -> Any:
    """MobileBERT's proportions for the teacher of this ``BertConfig``."""
    from transformers import MobileBertConfig

    hidden, heads = teacher.hidden_size, teacher.num_attention_heads
    narrow = -(-hidden // (_QUARTER * heads)) * heads
    return MobileBertConfig(
        vocab_size=teacher.vocab_size,
        hidden_size=hidden,
        num_hidden_layers=teacher.num_hidden_layers,
        num_attention_heads=heads,
        intermediate_size=hidden,
        embedding_size=-(-hidden // _QUARTER),
        intra_bottleneck_size=narrow,
        max_position_embeddings=teacher.max_position_embeddings,
        type_vocab_size=teacher.type_vocab_size,
        pad_token_id=teacher.pad_token_id,
        id2label=teacher.id2label,
        label2id=teacher.label2id,
        problem_type="regression" if teacher.num_labels == 1 else None,
    )


def _bottleneck_student(teacher: Any, encoded: Encoded, seed: int) -> Any:
    from transformers import MobileBertForSequenceClassification

    if is_factorised(teacher.config):
        raise InputError("the bottleneck student is made for teachers whose embeddings are as wide as their encoder")
    with seeded(seed):
        student = MobileBertForSequenceClassification(bottleneck_config(teacher.config))
    student.set_attn_implementation(TRAINING_ATTENTION)
    student.to(training_device()).eval()
    student.mobilebert.pooler.dense.load_state_dict(teacher.bert.pooler.dense.state_dict())
    student.classifier.load_state_dict(teacher.classifier.state_dict())
    _copy_embeddings(student.mobilebert.embeddings, teacher.bert.embeddings, encoded)
    return student


def _copy_embeddings(own: Any, whole: Any, encoded: Encoded) -> None:
    """The teacher's tables; a gain and a bias for each coordinate stand for its LayerNorm, fitted on some texts."""
    import torch

    with torch.no_grad():
        table, width = whole.word_embeddings.weight, own.embedding_size
        # eigh sorts upwards
        components = torch.linalg.eigh(table.double().T @ table.double()).eigenvectors[:, -width:].to(table.dtype)
        own.word_embeddings.weight.copy_(table @ components)
        own.embedding_transformation.weight.zero_()
        own.embedding_transformation.bias.zero_()
        # Of a token's own third: those of the next and of the one before begin at zero.
        own.embedding_transformation.weight[:, width : 2 * width].copy_(components)
        own.position_embeddings.weight.copy_(whole.position_embeddings.weight)
        own.token_type_embeddings.weight.copy_(whole.token_type_embeddings.weight)
        _fit_embeddings_gain(own, whole, encoded)


def _fit_embeddings_gain(own: Any, whole: Any, encoded: Encoded) -> None:
    batch = pad(encoded, range(min(_FITTED_TEXTS, len(encoded.lengths))))
    device = own.word_embeddings.weight.device
    inputs = {name: batch[name].to(device) for name in ("input_ids", "token_type_ids")}
    used = batch["attention_mask"].bool().to(device)
    given, wanted = own(**inputs)[used], whole(**inputs)[used]  # weight 1, bias 0, so far
    centred = given - given.mean(dim=0)
    gain = (centred * (wanted - wanted.mean(dim=0))).sum(dim=0) / (centred.square().sum(dim=0) + _LEAST)
    own.LayerNorm.weight.copy_(gain)
    own.LayerNorm.bias.copy_(wanted.mean(dim=0) - gain * given.mean(dim=0))


def load_bottleneck(directory: Path, kind: Kind) -> Any:
    """A saved bottleneck student, float32, ready to evaluate, on the training device."""
    from transformers import MobileBertForSequenceClassification

    model = MobileBertForSequenceClassification.from_pretrained(
        directory, use_safetensors=True, dtype="float32", attn_implementation=TRAINING_ATTENTION
    )
    return model.to(training_device()).eval()


def _bottleneck_loss(student: Any, teacher: Any, batch: Batch) -> Tensor:
    import torch

    transfers = batch.share < TRANSFER_SHARE
    seen = {"output_hidden_states": True, "output_attentions": True} if transfers else {}
    own = student(**batch.inputs, **seen)
    with torch.no_grad():
        wanted = teacher(**batch.inputs, **seen)
    logits = own.logits.float()
    if transfers:
        # Times zero: the classifier has a gradient at every step, as checkpoints of the optimiser want it.
        return _transfer_loss(own, wanted, batch.values["attention_mask"]) + logits.sum() * 0.0
    target = batch.units.standardised(wanted.logits.float())
    soft = teacher_loss(batch.kind, logits, target, batch.values)
    return LOGITS_SHARE * soft + (1.0 - LOGITS_SHARE) * label_loss(batch.kind, logits, batch.values)


def _transfer_loss(own: Any, wanted: Any, mask: Tensor) -> Tensor:
    """Feature maps' mean squared error and attention's Kullback-Leibler divergence, as means over tokens and layers."""
    import torch

    used = (mask / mask.sum()).float()
    total = torch.zeros((), device=mask.device)
    for state, target in zip(own.hidden_states[1:], wanted.hidden_states[1:], strict=True):
        total = total + ((state.float() - target.float()).square().mean(dim=2) * used).sum()
    for attention, target in zip(own.attentions, wanted.attentions, strict=True):
        likely = target.float().clamp_min(_LEAST)  # (b, heads, s, s)
        apart = (likely * (likely.log() - attention.float().clamp_min(_LEAST).log())).sum(dim=3).mean(dim=1)
        total = total + (apart * used).sum()
    return total / len(own.attentions)


def _random_student(architecture: Architecture, teacher: Any, encoded: Encoded, seed: int) -> Any:
    with seeded(seed):
        student = new_model(student_config(teacher.config, architecture), encoded.kind)
    # A head that was drawn gives standardised values, as those that are trained do.
    Units.of(encoded).enter(student)
    return student.to(training_device())


def _labels_only(student: Any, teacher: Any, batch: Batch) -> Tensor:
    return label_loss(batch.kind, student(**batch.inputs).logits.float(), batch.values)
