"""What rows of distillations say: means over seeds beside the teacher's, and how levels rank students."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import mean, stdev
from typing import Any

from search.real_stages import Sizes
from tests.benchmarks.distillation_runs import architecture_of

# Sizes that have no part in those of the encoder.
_ANY_SIZES = Sizes(1, 1, 1, 1, vocab_size=1, max_positions=512, token_types=1, factorised=False)


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Markdown: scores (in hundredths) of each teacher, and each student's difference from its own, over seeds."""
    teachers = {_teacher_key(row["run"]): row for row in rows if not row["run"]["student"]}
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        run = row["run"]
        groups.setdefault((run["task"], run["kind"], run["student"], run["recipe"], run["tokens"]), []).append(row)
    lines = [
        "| task | student | recipe | tokens | seeds | held out | dev | dev less teacher's | apart | seconds |",
        "|" + " --- |" * 10,
    ]
    for (task, kind, student, recipe, tokens), found in groups.items():
        metric = found[0]["metric"]
        lost = [
            row["dev"][metric] - teachers[_teacher_key(row["run"])]["dev"][metric]
            for row in found
            if _teacher_key(row["run"]) in teachers
        ]
        cells = [
            f"{task} {kind or ''}".strip(),
            student or "teacher",
            recipe,
            str(tokens),
            str(len(found)),
            _spread([row["held_out"][metric] for row in found]),
            _spread([row["dev"][metric] for row in found]),
            _spread(lost),
            _means([row["apart"] for row in found if "apart" in row]),
            str(round(mean(row["seconds"] for row in found))),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def levels(rows: Iterable[Mapping[str, Any]]) -> str:
    """Markdown: Spearman correlation, over students of one task and seed, of what cheaper levels say with what dearer
    ones do: held-out scores, and closeness (minus the divergence from the teacher); and of one seed with another at the
    same level, the ceiling that noise sets. Level 0 is the student as it was cut; size is its number of weights without
    embeddings and head."""
    lines = ["| task | level | with | seeds | students | correlation |", "| --- | --- | --- | --- | --- | --- |"]
    found = _by_level(rows)
    for (task, tokens, judge, seed), own in sorted(found.items()):
        for (task_b, tokens_b, judge_b, seed_b), other in sorted(found.items()):
            # What is read once, at the end, is what all else should foretell.
            foretold = tokens == tokens_b > 0 and judge != judge_b == "dev"
            later = seed == seed_b and (tokens < tokens_b or foretold)
            again = judge == judge_b and tokens == tokens_b > 0 and seed < seed_b
            common = sorted(own.keys() & other.keys())
            if task == task_b and (later or again) and len(common) > 3:
                rank = spearman([own[name] for name in common], [other[name] for name in common])
                seeds = seed if later else f"{seed}, {seed_b}"
                cells = [task, f"{judge}, {tokens}", f"{judge_b}, {tokens_b}", seeds, str(len(common)), f"{rank:.2f}"]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by_level(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int, str, str], dict[str, float]]:
    """Values by student for each (task, tokens, judge, seed)."""
    found: dict[tuple[str, int, str, str], dict[str, float]] = {}
    for row in rows:
        run, metric = row["run"], row["metric"]
        if not run["student"] or run["recipe"] != "default":
            continue
        task, seed, tokens = f"{run['task']} {run['kind'] or ''}".strip(), _seeds_of(run), run["tokens"]
        values = {(0, "score"): row["cut"][metric], (tokens, "score"): row["held_out"][metric]}
        values |= {(tokens, "dev"): row["dev"][metric]}
        values |= {(0, "size"): float(architecture_of(run["student"], _ANY_SIZES).encoder_parameters)}
        values |= {(tokens, "closeness"): -row["apart"]} if "apart" in row else {}
        values |= {(0, "closeness"): -row["cut_apart"]} if "cut_apart" in row else {}
        for (level, judge), value in values.items():
            found.setdefault((task, level, judge, seed), {})[run["student"]] = value
    return found


def _seeds_of(run: Mapping[str, Any]) -> str:
    """The teacher's, and the student's where it has one of its own."""
    own = run.get("student_seed")
    return str(run["seed"]) if own is None else f"{run['seed']}/{own}"


def spearman(one: list[float], other: list[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def _teacher_key(run: Mapping[str, Any]) -> tuple[Any, ...]:
    return (run["task"], run["kind"], run["seed"], run["passes"], run["rate"])


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    deviation = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{deviation}"


def _means(values: list[float]) -> str:
    return f"{mean(values):.4f}" if values else ""
