"""Which operators are spelled out on import, and which are refused at sight, with the true cause."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import onnx

from data.errors import ModelError, UnsupportedOperatorError
from fusion.importing.evaluation import describe
from fusion.importing.expansion import STANDARD, Expand
from fusion.importing.microsoft_operators import DOMAIN, MICROSOFT
from fusion.importing.quantisation.operators import INTEGER, QUANTISED

_EXPANSIONS: Mapping[str, Mapping[str, Expand]] = MappingProxyType({"": STANDARD, DOMAIN: MICROSOFT})
# What is left of these when a file's quantisation has been taken out: others of their kind, or some within a branch.
_QUANTISED = frozenset(
    "ConvInteger DynamicQuantizeLinear DynamicQuantizeLSTM MatMulInteger MatMulInteger16 QMoE".split()
) | frozenset(QUANTISED)
_QUANTISED_PREFIXES = ("QLinear", "QOrdered")
_CAUSES: Mapping[str, str] = MappingProxyType(
    {
        "GatedRelativePositionBias": "relative position bias is not supported",
        "GroupQueryAttention": "decoders are not supported, encoders only",
        "DecoderMaskedMultiHeadAttention": "decoders are not supported, encoders only",
        "DecoderMaskedSelfAttention": "decoders are not supported, encoders only",
        "PackedAttention": "sequences without padding are not supported; optimise without packing",
        "PackedMultiHeadAttention": "sequences without padding are not supported; optimise without packing",
        "RelativePositionBias": "relative position bias is not supported",
        "RemovePadding": "sequences without padding are not supported; optimise without packing",
        "RestorePadding": "sequences without padding are not supported; optimise without packing",
        "RotaryEmbedding": "rotary positions (as of ModernBERT, GTE, Nomic) are not supported",
        "RMSNormalization": "root mean square normalisation (as of decoders and T5) is not supported",
        "SimplifiedLayerNormalization": "root mean square normalisation (as of decoders and T5) is not supported",
        "SkipSimplifiedLayerNormalization": "root mean square normalisation (as of decoders and T5) is not supported",
    }
)


def domain_of(name: str) -> str:
    """A domain's name in its shorter spelling."""
    return "" if name == "ai.onnx" else name


def expansion_of(node: onnx.NodeProto) -> Expand | None:
    """The function that spells a node out, if it has to be."""
    return _EXPANSIONS.get(domain_of(node.domain), {}).get(node.op_type)


def check_known(node: onnx.NodeProto) -> None:
    """Refuses operators that tell why the model cannot be compiled, and those of unknown domains.

    Raises:
        ModelError: its kind or its domain cannot be read.
        UnsupportedOperatorError: names the node, the cause and what to do.
    """
    kind, domain = node.op_type, domain_of(node.domain)
    if not isinstance(kind, str) or not isinstance(domain, str):  # as protobuf gives what it cannot decode
        raise ModelError(f"{describe(node)}: its name or its domain is no UTF-8: the file is damaged")
    if kind in _QUANTISED or kind.startswith(_QUANTISED_PREFIXES):
        raise UnsupportedOperatorError(
            f"{describe(node)}: quantised activations are not supported in this operator, nor in branches; take the "
            f"floating-point file. Supported of their kind: {', '.join(sorted((*QUANTISED, *INTEGER)))}"
        )
    if kind in _CAUSES:
        raise UnsupportedOperatorError(f"{describe(node)}: {_CAUSES[kind]}")
    if domain.startswith(DOMAIN) and expansion_of(node) is None:
        raise UnsupportedOperatorError(
            f"{describe(node)} of {domain}: this file was optimised by ONNX Runtime, with an operator that is not "
            f"supported; take the file from before that. Supported of it: {', '.join(sorted(MICROSOFT))}"
        )
