"""Where a search's predicted latency comes from, in words for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from search.options import LatencySource
from search.result import SearchResult

_TOLD: Mapping[LatencySource, str] = MappingProxyType(
    {
        "fused": "the blocks as they are fused",
        "unfused": "the same models without fusion",
        "flops": "floating-point operations",
    }
)


def source_told(source: LatencySource) -> str:
    """The source in a few words."""
    return _TOLD[source]


def source_mark(result: SearchResult) -> str:
    """What stands behind a predicted latency where it is not from the fused blocks; nothing where it is."""
    source = result.options.latency_from
    return "" if source == "fused" else f" from {source_told(source)}"


def source_notes(source: LatencySource, teacher_compiles: bool) -> Iterator[str]:
    """What whoever starts a search that is blind to fusion is told; nothing of one that is not."""
    if source == "fused":
        return
    where = (
        "the teacher's measured latency"
        if teacher_compiles
        else "the predicted latency of a BERT of the teacher's sizes, since the teacher itself is not compiled"
    )
    yield (
        f"latency is believed from {source_told(source)} (--latency-from {source}), which agrees with {where} and "
        "knows nothing of fusion; what is timed, admitted and confirmed is fused code as ever"
    )


def source_errors(result: SearchResult) -> str:
    """How far off predictions from each source are, on the profile's held-out models, on a line."""
    return "; ".join(
        f"from {source_told(source)} {quality.mape:.1%} (Spearman {quality.spearman:.3f})"
        for source, quality in result.outlook.source_quality.items()
    )
