"""Cutting a student of any architecture out of the teacher.

The residual stream is projected on the teacher's principal components; heads and feed-forward neurons are
chosen by what they contribute; then, layer after layer, every matrix and LayerNorm of the student is fitted by
least squares to give the teacher's (projected) activations from the student's own on a few hundred training
texts. The same recipe covers fewer layers (a layer is fitted to do the work of those skipped) and more (surplus
layers start as the identity, as in Net2Net, Chen et al. 2016).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.architecture import Architecture, Head
from data.errors import InputError
from data.tasks import Kind
from search.learning.encoding import Encoded
from search.learning.factorised_embeddings import EMBEDDING_SIZE, is_factorised
from search.learning.task_models import new_model, save_model
from search.students.basis import Basis
from search.students.calibration import (
    CalibrationBatch,
    LayerActivations,
    calibration_batch,
    fit_layer_norm,
    fit_linear,
    run_layer,
)
from search.students.heads import head_targets
from search.teachers.families import bert_config

if TYPE_CHECKING:
    from torch import Tensor, nn

# A kind of task whose models have that head.
_KINDS: dict[Head, Kind] = {"sequence": "classification", "tokens": "tokens", "embedding": "similarity"}
_NOISE = 0.01  # of the initializer's standard deviation: keeps repeated heads and layers from staying equal


def mapped_layers(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """For each student layer the teacher layer (from 1) whose output it reproduces, spread evenly, the last last."""
    exact = (layer * teacher_layers / student_layers for layer in range(1, student_layers + 1))
    return tuple(max(1, int(position + 0.5)) for position in exact)


def cut_student(teacher: Any, encoded: Encoded, basis: Basis, architecture: Architecture, seed: int) -> Any:
    """A model of the given sizes, and the teacher's kind, that starts as close to ``teacher`` as least squares gets.

    Args:
        teacher: The fine-tuned model, as :mod:`search.learning.task_models` makes it.
        encoded: Training texts to calibrate on.
        basis: Principal components of the teacher's hidden states.
        architecture: Sizes of the student; vocabulary, positions and labels are the teacher's.
        seed: Chooses the calibration texts and the noise.

    Raises:
        InputError: the student would be wider than the teacher.
    """
    import torch

    if architecture.hidden > teacher.config.hidden_size:
        raise InputError(f"student {architecture.name} is wider than the teacher ({teacher.config.hidden_size})")
    torch.manual_seed(seed)
    student = _empty_student(teacher, encoded, architecture)
    device = next(teacher.parameters()).device
    projection = torch.from_numpy(basis.projection(architecture.hidden)).to(device)
    batch = calibration_batch(encoded, seed, device)
    with torch.no_grad():
        expected = teacher(**batch.inputs, output_hidden_states=True)
        states = _cut_embeddings(student, teacher, projection, expected.hidden_states[0], batch)
        sources = mapped_layers(architecture.layers, teacher.config.num_hidden_layers)
        for layer, source, previous in zip(student.bert.encoder.layer, sources, (0, *sources[:-1]), strict=True):
            teacher_layer = teacher.bert.encoder.layer[source - 1]
            if source != previous:
                whole = run_layer(teacher_layer, expected.hidden_states[source - 1], batch)
            states = _cut_layer(layer, teacher_layer, whole, projection, states, batch, surplus=source == previous)
        _cut_head(student, teacher, projection, expected, states, batch)
    return student


def _empty_student(teacher: Any, encoded: Encoded, architecture: Architecture) -> Any:
    student = new_model(student_config(teacher.config, architecture), encoded.kind)
    return student.to(next(teacher.parameters()).device).eval()


def student_config(teacher: Any, architecture: Architecture) -> Any:
    """The configuration of a student: the teacher's, but for the sizes, without dropout, and with whole embeddings."""
    from transformers import BertConfig

    kept = {key: value for key, value in teacher.to_dict().items() if key != EMBEDDING_SIZE}
    values = kept | {
        "num_hidden_layers": architecture.layers,
        "hidden_size": architecture.hidden,
        "num_attention_heads": architecture.heads,
        "intermediate_size": architecture.intermediate,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout": 0.0,
    }
    return BertConfig.from_dict(values)


def save_untrained(source: Path, architecture: Architecture, folder: Path) -> Path:
    """Writes a student with random weights of the teacher in ``source``, a Hugging Face folder; returns ``folder``.

    Raises:
        InputError: the teacher is of no family that can be one.
        DataFileError: its configuration is not one that can be compiled; its key is named.
    """
    import torch

    from fusion.checkpoints.loading import quiet_transformers

    config = bert_config(source)
    config.num_labels = architecture.labels
    kind = _KINDS[architecture.head]
    with quiet_transformers(), torch.random.fork_rng():
        model = new_model(student_config(config, architecture), kind)
        save_model(model, kind, None, folder, architecture.seq_len)
    return folder


def _cut_embeddings(
    student: Any, teacher: Any, projection: Tensor, expected: Tensor, batch: CalibrationBatch
) -> Tensor:
    """Project the tables as the teacher's LayerNorm would see them: centred, and scaled by its gain.

    Narrow tables go through the teacher's own projection too; what that adds is left to the fit of the LayerNorm.
    """
    cut, whole = student.bert.embeddings, teacher.bert.embeddings
    narrow = is_factorised(teacher.config)
    projection_in = whole.projection.weight.T @ projection if narrow else projection
    exact = not narrow and projection.shape[0] == projection.shape[1]
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        table = getattr(whole, name).weight
        if not exact:
            table = (table - table.mean(dim=1, keepdim=True)) * whole.LayerNorm.weight
        getattr(cut, name).weight.copy_(table @ projection_in)
    inputs = {name: batch.inputs[name] for name in ("input_ids", "token_type_ids")}
    summed: list[Tensor] = []
    handle = cut.LayerNorm.register_forward_pre_hook(lambda module, args: summed.append(args[0]))
    cut(**inputs)
    handle.remove()
    fit_layer_norm(cut.LayerNorm, summed[0][batch.valid], (expected @ projection)[batch.valid])
    result: Tensor = cut(**inputs)
    return result


def _cut_layer(
    layer: Any,
    teacher_layer: Any,
    whole: LayerActivations,
    projection: Tensor,
    states: Tensor,
    batch: CalibrationBatch,
    surplus: bool,
) -> Tensor:
    """Fit one layer from its input on; returns its (b, s, hidden) output.

    ``surplus``: the layer before it already gives what this one should.
    """
    attention, incoming = layer.attention, states[batch.valid]
    targets = head_targets(
        whole,
        teacher_layer.attention.output.dense.weight,
        teacher_layer.attention.self.num_attention_heads,
        attention.self.num_attention_heads,
        attention.self.attention_head_size,
    )
    for module, target in zip((attention.self.query, attention.self.key, attention.self.value), targets, strict=True):
        fit_linear(module, incoming, target)
        _disturb(module)
    if surplus:
        _start_as_identity(layer, incoming)
        _fit_neurons(layer, teacher_layer, whole, incoming)
        return run_layer(layer, states, batch).states
    context = run_layer(layer, states, batch).context
    fit_linear(attention.output.dense, context, whole.attention_sum @ projection - incoming)
    fit_layer_norm(attention.output.LayerNorm, incoming + attention.output.dense(context), whole.attended @ projection)
    attended = run_layer(layer, states, batch).attended
    _fit_neurons(layer, teacher_layer, whole, attended)
    activation = run_layer(layer, states, batch).activation
    fit_linear(layer.output.dense, activation, whole.output_sum @ projection - attended)
    fit_layer_norm(layer.output.LayerNorm, attended + layer.output.dense(activation), whole.output @ projection)
    return run_layer(layer, states, batch).states


def _fit_neurons(layer: Any, teacher_layer: Any, whole: LayerActivations, attended: Tensor) -> None:
    """Take the feed-forward neurons that move the stream most; neurons beyond the teacher's stay random."""
    import torch

    moved = whole.activation.std(dim=0) * teacher_layer.output.dense.weight.norm(dim=0)
    count = min(layer.intermediate.dense.out_features, len(moved))
    chosen = moved.topk(count).indices.sort().values
    fitted = torch.nn.Linear(attended.shape[1], count, device=attended.device)
    fit_linear(fitted, attended, whole.inner[:, chosen])
    layer.intermediate.dense.weight[:count] = fitted.weight
    layer.intermediate.dense.bias[:count] = fitted.bias
    _disturb(layer.intermediate.dense)


def _start_as_identity(layer: Any, incoming: Tensor) -> None:
    for block in (layer.attention.output, layer.output):
        block.dense.weight.zero_()
        block.dense.bias.zero_()
        fit_layer_norm(block.LayerNorm, incoming, incoming)


def _disturb(module: nn.Linear) -> None:
    import torch

    module.weight.add_(torch.randn_like(module.weight) * (_NOISE * float(module.weight.std())))


def _cut_head(
    student: Any, teacher: Any, projection: Tensor, expected: Any, states: Tensor, batch: CalibrationBatch
) -> None:
    if student.bert.pooler is not None:
        _cut_pooled_head(student, teacher, projection, expected, states)
    elif hasattr(student, "classifier"):
        fit_linear(student.classifier, states[batch.valid], expected.logits[batch.valid])


def _cut_pooled_head(student: Any, teacher: Any, projection: Tensor, expected: Any, states: Tensor) -> None:
    """Keep the pooled features that weigh most; the classifier's bias makes up for the mean of the others."""
    whole = expected.hidden_states[-1][:, 0]
    pooled = teacher.bert.pooler(expected.hidden_states[-1])
    weight = teacher.classifier.weight
    chosen = (pooled.std(dim=0) * weight.norm(dim=0)).topk(projection.shape[1]).indices.sort().values
    dense, cut = teacher.bert.pooler.dense, student.bert.pooler.dense
    cut.weight.copy_(dense.weight[chosen] @ projection)
    lost = (whole - whole @ projection @ projection.T).mean(dim=0)
    cut.bias.copy_(dense.bias[chosen] + dense.weight[chosen] @ lost)
    features = student.bert.pooler(states)
    student.classifier.weight.copy_(weight[:, chosen])
    student.classifier.bias.copy_(expected.logits.mean(dim=0) - (features @ weight[:, chosen].T).mean(dim=0))
