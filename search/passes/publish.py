"""What a search leaves behind: ``best/``, ``result.json`` and ``report.html``."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.passes.bench import Bench, Place, timed
from search.passes.confirmation import compiled_for
from search.reports.devices import app_folder, compiled_folder, with_exports
from search.reports.model_card import model_card
from search.reports.report import render_report
from search.reports.summary import result_document
from search.result import SearchResult
from search.study import atomic_write

BEST, RESULT, REPORT, CARD = "best", "result.json", "report.html", "README.md"


@dataclass(frozen=True)
class _Published:
    """Which model is in ``best/``, for which compiler targets it was compiled, and what its latencies rest on."""

    winner: int | None
    target: str
    provenance: str


def publish(bench: Bench, result: SearchResult) -> None:
    """Writes ``best/``, then the result and the report; what is there already and up to date is left alone.

    ``best/`` is put together under another name and renamed, so that it is never half a model.
    """
    targets = "+".join(device.target for device in result.devices)
    wanted = _Published(result.winner, targets, "-".join(device.provenance for device in result.devices))
    best = bench.study.out / BEST
    document = result_document(result, bench.study.out)
    if not best.is_dir() or bench.study.load("published", _Published) != wanted:
        with timed(bench.study, "publish"):
            _replace(best, _assemble(bench, result, document))
        bench.study.save("published", wanted)
    document = with_exports(document, best)
    atomic_write(bench.study.out / REPORT, render_report(result, document))
    # Last, since whoever finds result.json takes the search for finished.
    atomic_write(bench.study.out / RESULT, json.dumps(document, indent=2, allow_nan=False) + "\n")


def _assemble(bench: Bench, result: SearchResult, document: dict[str, Any]) -> Path:
    """A folder with the winner's checkpoint, its model card, its ONNX file and its compiled forms."""
    finalist = result.winning_finalist
    folder = bench.study.folder / "best.partial"
    shutil.rmtree(folder, ignore_errors=True)
    checkpoint = bench.study.out / finalist.trained.directory
    # Hugging Face's own files only: what training noted for itself is of no use to whoever takes the model. Their
    # content only: safetensors writes files that nobody but their owner may read.
    noted = shutil.ignore_patterns("distilled.json", "projection.safetensors", "teacher.json", "*.npy")
    shutil.copytree(checkpoint, folder, ignore=noted, copy_function=shutil.copyfile)
    onnx = folder / "model.onnx"
    shutil.copyfile(bench.study.out / finalist.checked.onnx, onnx)
    architecture, fp32_modules = result.winning_candidate.architecture, finalist.trained.fp32_modules
    compiled = bench.stages.compile_model(bench.device, onnx, architecture, bench.threads, fp32_modules)
    for place, device in zip(bench.places, result.devices, strict=True):
        wanted = folder / compiled_folder(result.devices, device)
        if not wanted.exists():
            placed = compiled_for(bench, place, compiled, onnx, architecture, fp32_modules)
            _export(bench, place, placed, folder, wanted.name)
    (folder / CARD).write_text(model_card(result, with_exports(document, folder)), encoding="utf-8")
    return folder


def _export(bench: Bench, place: Place, compiled: Any, best: Path, name: str) -> None:
    """The compiled model for a device, and what an app on it needs; both know the checkpoint's tokenizer."""
    why_no_texts = bench.stages.export_compiled(place.device, compiled, best, best / name, best / app_folder(name))
    if why_no_texts:
        bench.note(f"the compiled model takes token ids, not texts: {why_no_texts}")


def _replace(best: Path, folder: Path) -> None:
    shutil.rmtree(best, ignore_errors=True)
    folder.rename(best)
