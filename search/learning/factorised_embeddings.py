"""Embeddings narrower than the encoder, as ELECTRA-small and ALBERT have them, within a model that is else a BERT.

``config.embedding_size`` marks such a model: a ``BertConfig`` has none. It can be trained and be a teacher; it is
not compiled in this form, so it can be no candidate of a search itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.learning.training import TRAINING_ATTENTION

if TYPE_CHECKING:
    from torch import nn

EMBEDDING_SIZE = "embedding_size"


def is_factorised(config: Any) -> bool:
    """Whether a configuration is that of a model with narrow embeddings and a projection behind them."""
    return getattr(config, EMBEDDING_SIZE, None) is not None


def restore_factorised_embeddings(model: Any) -> Any:
    """Puts narrow embeddings into a new model whose configuration asks for them; returns the model.

    Does nothing for other models. To be called before weights are loaded.

    Args:
        model: A ``BertModel``, or a model with a head around one, of random weights.
    """
    if is_factorised(model.config):
        model.base_model.embeddings = _factorised_embeddings(model.config)
    return model


def read_model(kind: Any, directory: Path, **settings: Any) -> Any:
    """A model that was saved with ``save_pretrained``, narrow embeddings or not: float32, on the CPU, evaluating.

    Args:
        kind: A class of transformers, such as ``BertForSequenceClassification``.
        directory: Its configuration and ``model.safetensors``.
        settings: of the class, such as ``add_pooling_layer``.
    """
    from safetensors.torch import load_file
    from transformers import BertConfig

    config = BertConfig.from_pretrained(directory)
    if not is_factorised(config):
        return kind.from_pretrained(
            directory, use_safetensors=True, dtype="float32", attn_implementation=TRAINING_ATTENTION, **settings
        ).eval()
    config._attn_implementation = TRAINING_ATTENTION
    model = restore_factorised_embeddings(kind(config, **settings))
    model.load_state_dict(load_file(directory / "model.safetensors"))
    return model.eval()


def _factorised_embeddings(config: Any) -> nn.Module:
    """``BertEmbeddings`` of ``config.embedding_size`` columns, with a projection to the encoder's width behind them."""
    import copy

    from torch import Tensor, nn
    from transformers.models.bert.modeling_bert import BertEmbeddings

    class FactorisedEmbeddings(BertEmbeddings):
        """Takes what ``BertEmbeddings`` takes; ``projection`` follows its LayerNorm and dropout."""

        def __init__(self) -> None:
            narrow = copy.deepcopy(config)
            narrow.hidden_size = config.embedding_size
            super().__init__(narrow)
            self.projection = nn.Linear(config.embedding_size, config.hidden_size)
            for module in self.modules():
                if isinstance(module, (nn.Linear, nn.Embedding)):
                    nn.init.normal_(module.weight, std=config.initializer_range)
            nn.init.zeros_(self.projection.bias)

        def forward(self, *args: Any, **kwargs: Any) -> Tensor:
            projected: Tensor = self.projection(super().forward(*args, **kwargs))
            return projected

    return FactorisedEmbeddings()
