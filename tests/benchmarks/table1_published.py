"""Table 1 as it was published (Niu, Kong et al., 2020), beside what is replayed of it.

GLUE scores in points, and milliseconds on a Galaxy S20 with fusion, CPU and GPU. The published rows mix sources: BERT's
is its test row, MobileBERT's that paper's own, DistilBERT's of two papers. SST-2 and a random initialisation are not in
it.
"""

from __future__ import annotations

from dataclasses import dataclass

CAVEAT = (
    "published figures are of other models, data (test sets among them) and a phone, and their rows mix sources: only "
    "differences within one protocol compare, here as there"
)


@dataclass(frozen=True)
class PublishedRow:
    """A row's name there, its points by task, and its milliseconds."""

    name: str
    points: dict[str, float]
    cpu_ms: float
    gpu_ms: float


PUBLISHED = {
    "teacher": PublishedRow("BERT-base", {"mrpc": 88.9, "stsb": 85.8, "rte": 66.4, "cola": 52.1}, 257, 186),
    "half-depth": PublishedRow("DistilBERT", {"mrpc": 85.0, "rte": 65.5, "cola": 51.3}, 145, 133),
    "bottleneck": PublishedRow("MobileBERT", {"mrpc": 88.8, "stsb": 84.4, "rte": 66.2, "cola": 50.5}, 73, 69),
    "undistilled": PublishedRow(
        "deep-narrow (28 blocks), no distillation", {"mrpc": 84.9, "stsb": 81.6, "rte": 63.8, "cola": 45.7}, 60, 54
    ),
    "distilled": PublishedRow(
        "deep-narrow, distilled", {"mrpc": 88.5, "stsb": 83.8, "rte": 65.8, "cola": 49.7}, 60, 54
    ),
    "searched": PublishedRow("with NAS", {"mrpc": 88.4, "stsb": 83.5, "rte": 65.6, "cola": 49.2}, 49, 45),
}
