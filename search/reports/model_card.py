"""``best/README.md``: the model card, as Hugging Face's hub shows it, of the winner alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from search.latencies import listed
from search.reports.latency_source import source_mark
from search.result import SearchResult

# What the hub calls the kinds of tasks.
_PIPELINES = {
    "classification": "text-classification",
    "regression": "text-classification",
    "tokens": "token-classification",
    "similarity": "sentence-similarity",
}
_MARKUP = {"<": "&lt;", ">": "&gt;", "&": "&amp;"} | {letter: f"\\{letter}" for letter in "\\`*_[]|#"}


def model_card(result: SearchResult, document: dict[str, Any]) -> str:
    """The card as Markdown.

    Args:
        result: of the search.
        document: the content of ``result.json``, whose figures are repeated.
    """
    winner, options = document["winner"], result.options
    timing = winner["timing"]
    lines = [
        "---",
        f"pipeline_tag: {_PIPELINES[result.task.kind]}",
        "library_name: transformers",
        'tags: ["pocketbert"]',
        "---",
        "",
        f"# {winner['name']}: {_plain(result.task.name)} on {_plain(listed([each.title for each in result.devices]))}",
        "",
        _origin(result, winner),
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in _facts(result, winner, timing)),
        *(_further(result, entry) for entry in document["devices"][1:]),
        "",
        f"Made by pocketbert {document['pocketbert']} with these options (seed {options.seed}):",
        "",
        f"    {json.dumps(_given(document['options']), ensure_ascii=True)}",
        "",
        f"`model.onnx` is the same model for other runtimes; {_compiled(document)} without Python{_apps(document)}.",
        "",
    ]
    return "\n".join(lines)


def _origin(result: SearchResult, winner: dict[str, Any]) -> str:
    if winner["trial"] is None:
        return f"The fine-tuned teacher ({_teacher(result)}) itself, which is within the budget."
    return (
        f"Distilled from {_teacher(result)}, fine-tuned on the same task; of {_counted(len(result.trials), 'student')} "
        f"that learnt briefly {_counted(len(result.finalists), 'model')} went on to the end, and this is the best."
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _teacher(result: SearchResult) -> str:
    name = result.teacher.name
    return "all-MiniLM-L6-v2" if name == "default" else _plain(Path(name).name)


def _facts(result: SearchResult, winner: dict[str, Any], timing: dict[str, Any]) -> list[tuple[str, str]]:
    task, device = result.task, result.device
    low, high = winner["latency"]["interval_ms"]
    facts = [
        ("device", f"{_plain(device.title)}, {device.runs_on}"),
        ("budget", f"{result.options.budget_ms:g} ms"),
        (
            "latency",
            f"{timing['median_ms']:.2f} ms median of {timing['n']} runs, 90th percentile {timing['p90_ms']:.2f} ms "
            f"(**{timing['provenance']}**; batch 1, {result.options.seq_len} tokens, {winner['precision']}); "
            f"predicted{source_mark(result)} {winner['latency']['predicted_ms']:.2f} ms, 90% interval {low:.2f} to "
            f"{high:.2f}",
        ),
        (
            f"held-out tenth of train, {task.measures[0]}",
            f"{winner['score']:.3f} ± {winner['standard_error']:.3f} (by which it was chosen)",
        ),
        (
            "data",
            f"{task.train_examples} training, {task.held_out_examples} held-out, {task.dev_examples} dev examples",
        ),
        ("size", f"{winner['weight_bytes'] / 1e6:.1f} MB of weights, those of products in {winner['precision']}"),
    ]
    if winner["dev"]:
        dev = winner["dev"]
        told = f"{dev['score']:.3f} ± {dev['standard_error']:.3f} (standard error; read once)"
        facts.insert(4, (f"dev, {task.measures[1]}", told))
    for each in device.units:
        told = f"{each.architecture} in {each.median_ms:.2f} ms{'' if each.within else ', beyond the budget'}"
        facts.append((f"largest scaled teacher in time, {each.unit}", told))
    return [(_plain(name), value) for name, value in facts]


def _further(result: SearchResult, entry: dict[str, Any]) -> str:
    """The row of a further device."""
    latency, timing = entry["winner"]["latency"], entry["winner"]["timing"]
    low, high = latency["interval_ms"]
    return (
        f"| also on {_plain(entry['title'])}, {entry['runs_on']} | budget "
        f"{entry['budget_ms']:g} ms; {timing['median_ms']:.2f} ms median of {timing['n']} runs, 90th percentile "
        f"{timing['p90_ms']:.2f} ms (**{timing['provenance']}**); predicted{source_mark(result)} "
        f"{latency['predicted_ms']:.2f} ms, 90% "
        f"interval {low:.2f} to {high:.2f} |"
    )


def _compiled(document: dict[str, Any]) -> str:
    """Which folder runs where."""
    folders: dict[str, list[str]] = {}
    for entry in document["devices"]:
        folders.setdefault(Path(entry["compiled"]).name, []).append(_plain(entry["title"]))
    if len(document["devices"]) == 1:
        return "`compiled/` runs"
    return listed([f"`{folder}/` (for {listed(titles)})" for folder, titles in folders.items()]) + (
        " run" if len(folders) > 1 else " runs"
    )


def _apps(document: dict[str, Any]) -> str:
    """What it takes there, and which folder goes into an app."""
    first = document["devices"][0]
    takes = ", and takes texts" if first["takes_texts"] else ", and takes token ids"
    folders = sorted({f"`{Path(entry['android']).name}/`" for entry in document["devices"] if entry["android"]})
    goes = f"; {listed(folders)} {'goes' if len(folders) == 1 else 'go'} into an app for Android" if folders else ""
    return takes + goes


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """What was given; of files and folders their names only, since a card may be published."""
    return {name: _without_folders(value) for name, value in options.items() if value not in (None, ())}


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_folders(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(part) for part in value]
    return Path(value).name if isinstance(value, str) else value


def _plain(text: str) -> str:
    """Names from files and devices, so that they cannot be taken for markup."""
    return "".join(_MARKUP.get(letter, letter if letter.isprintable() else " ") for letter in text)
