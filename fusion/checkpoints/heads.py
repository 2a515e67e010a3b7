"""Which head a Hugging Face directory has: the classes of transformers that ``config.json`` names or may stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data.errors import ModelError

# How the names of classes end whose outputs are compiled, and transformers' table of them by kind of model. Where
# config.json names none, the first that the stored tensors fill wholly is taken: the order matters for a multiple
# choice's head, whose tensors are those of a regression, and which as one choice's logit computes the same.
HEADS: Mapping[str, str] = MappingProxyType(
    {
        "Model": "MODEL_MAPPING",
        "ForSequenceClassification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
        "ForTokenClassification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING",
        "ForQuestionAnswering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING",
        "ForMaskedLM": "MODEL_FOR_MASKED_LM_MAPPING",
        "ForNextSentencePrediction": "MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING",
        "ForPreTraining": "MODEL_FOR_PRETRAINING_MAPPING",
        "ForMultipleChoice": "MODEL_FOR_MULTIPLE_CHOICE_MAPPING",
        "DPRQuestionEncoder": "",
        "DPRContextEncoder": "",
        "DPRReader": "",
    }
)
# Of those, encoders without a head: their pooler may not have been stored.
ENCODER = "Model"
MULTIPLE_CHOICE = "ForMultipleChoice"
_DECODERS = ("ForCausalLM", "LMHeadModel", "DoubleHeadsModel", "DecoderModel", "ForConditionalGeneration")
_NEXT = "export it to ONNX yourself and compile that file"


def head_classes(config: Any, directory: Path) -> tuple[Any, ...]:
    """transformers' classes that the configuration names, or all that it may stand for where it names none.

    Raises:
        ModelError: a named class is unknown, belongs to another kind of model, has a head that is not compiled, or
            the model is a decoder; the message names it.
    """
    names = dict.fromkeys(config.architectures or ())
    return tuple(_named_class(name, config, directory) for name in names) or _possible_classes(config)


def encoder_class(config: Any, directory: Path) -> Any:
    """The class of the encoder without any head. Errors as :func:`head_classes`."""
    import transformers

    found = getattr(transformers, HEADS[ENCODER]).get(type(config), None)
    if found is None:
        raise ModelError(f"{directory}: transformers has no encoder for model_type {config.model_type!r}")
    return found


def is_encoder(architecture: Any) -> bool:
    """Whether a class gives hidden states rather than a head's outputs."""
    return str(architecture.__name__).endswith(ENCODER)


def _named_class(name: str, config: Any, directory: Path) -> Any:
    import transformers

    place = f"{directory}: architecture {name!r} in config.json"
    if name.endswith(_DECODERS):
        raise ModelError(f"{place} is a decoder, whose head generates text; only encoders are compiled")
    found: Any = getattr(transformers, name, None)
    if not _is_model_class(found):
        raise ModelError(f"{place} is not a model that transformers {transformers.__version__} has; {_NEXT}")
    if not name.endswith(tuple(HEADS)):
        raise ModelError(f"{place} has a head that is not compiled (known: {', '.join(HEADS)}); {_NEXT}")
    kind = found.config_class
    if not isinstance(config, kind):
        raise ModelError(f"{place} is of model_type {kind.model_type!r}, but model_type there is {config.model_type!r}")
    return found


def _is_model_class(found: Any) -> bool:
    import transformers

    return isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)


def _possible_classes(config: Any) -> tuple[Any, ...]:
    import transformers

    tables = (getattr(transformers, name) for name in HEADS.values() if name)
    found = (table[type(config)] for table in tables if type(config) in table)
    return tuple(dict.fromkeys(one for one in found if isinstance(one, type)))
