"""``search``: the most accurate encoder that a device runs within a latency budget."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import click

from search.commands._options import (
    DEVICE_BUDGET,
    DURATIONS_MS,
    SEED,
    SIZE_BYTES,
    Command,
    check_precision,
    check_threads,
    run_command,
)
from search.commands.execution_options import Execution, execution_options
from search.commands.search_runs import run, run_several
from search.commands.task_options import TaskChoice, task_options

if TYPE_CHECKING:
    from search.options import SearchOptions
    from search.stages import Stages

# By effort. What a trial learns is lost to the final where another is chosen, and where finals are brief that costs
# more than further trials show (docs/decisions/few-trials.md).
DEFAULT_TRIALS: Mapping[str, int] = MappingProxyType({"brief": 2, "full": 4})
EXAMPLES = """\b
Examples:
  search --device host --budget 8ms
  search --device host --budget 8ms --effort brief           a first look
  search --device host --budget 8ms --task mrpc --data-dir glue_data --trials 8
  search --device host --budget 8ms --train reviews.csv      texts and labels of your own (docs/tasks.md)
  search --device host --budget 8ms --task my/task.toml      the same, described in a file: train = "reviews.csv"
  search --device host --budget 4ms,8ms,12ms                 a model for each, side by side
  search --device host --budget 12ms --pareto                the whole front, down to 3 ms
  search --device s20 --budget 50ms --also s10:70ms          one model that keeps both phones' budgets
  search --device host --budget 8ms --out run1 --resume      go on after an interruption
  search --device s20 --budget 50ms --executor ray           trials side by side on a Ray cluster (docs/ray.md)
  search --device host --budget 8ms --space deep.toml        sizes of your own: layers = [12, 20, 28]
  search --device s20 --budget 50ms --max-size 25MB          simulated until the phone is attached
  search --device s20 --budget 50ms --max-memory 60MB        what the model holds while it runs on the phone
  search --device host --budget 2ms --precision auto         products in fp32 or in int8, whichever is better
  search --device s20 --budget 50ms --latency-from flops     the same search blind to fusion, to see what it costs
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    help="Find, distil, compile and confirm the most accurate encoder that DEVICE runs within BUDGET.",
    context_settings={"max_content_width": 110},
)
@click.option("--device", required=True, help="Bundled device name (see profile-device --list) or a device .toml file.")
@click.option(
    "--budget",
    type=DURATIONS_MS,
    required=True,
    help="Median latency that the model must keep, batch 1, such as 8ms or 0.05s; several, such as 4ms,8ms,12ms, give "
    "a model each, and share teacher and trials.",
)
@click.option(
    "--pareto", is_flag=True, help="The whole front: five budgets, from the one given down to a quarter of it."
)
@click.option(
    "--also",
    type=DEVICE_BUDGET,
    multiple=True,
    metavar="DEVICE:BUDGET",
    help="A further device and the budget that the model must keep there as well, such as s10:70ms; may be repeated. "
    "Each device is profiled, and confirms the winner; with several budgets each model keeps it.",
)
@click.option(
    "--unit",
    type=click.Choice(["cpu", "gpu", "cpu,gpu"]),
    default="cpu",
    show_default=True,
    help="Unit to run on; of both, the one that runs the larger model within the budget.",
)
@task_options
@click.option(
    "--teacher",
    help="Hugging Face folder or hub name of a BERT, DistilBERT, RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA or ALBERT.  "
    "[default: all-MiniLM-L6-v2]",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="Candidates to distil briefly; several budgets share them, two each at least, the smallest three.  "
    "[default: 4, with --effort brief 2]",
)
@click.option(
    "--finalists",
    type=click.IntRange(min=1),
    help="Candidates to distil fully.  [default: 2; 1 of each of several budgets, and with --effort brief]",
)
@click.option(
    "--effort",
    type=click.Choice(["brief", "full"]),
    default="full",
    show_default=True,
    help="How long models learn: brief for a first look within a quarter of an hour, full for six times as long.",
)
@click.option("--corpus", type=click.Path(path_type=Path), help="General text to learn from as well, one text a line.")
@click.option("--seq-len", type=click.IntRange(min=8), default=128, show_default=True, help="Sequence length, tokens.")
@click.option(
    "--space",
    type=click.Path(path_type=Path),
    help="TOML file of the sizes to choose among: layers = [4, 6, 12], hidden = { from = 64, to = 384, step = 32 }, "
    'heads or head_size, intermediate; and of precision = ["fp32", "int8"].  '
    "[default: up to the teacher's widths, 1 to 28 layers, and what --precision says]",
)
@click.option("--max-size", type=SIZE_BYTES, help="Largest size of the fp32 weights, such as 25MB.")
@click.option(
    "--max-memory",
    type=SIZE_BYTES,
    help="Most memory that the compiled model may hold as it runs, such as 60MB: packed weights, activations and "
    "scratch of all threads; the process around it comes on top.",
)
@click.option(
    "--latency-from",
    type=click.Choice(["fused", "unfused", "flops"]),
    default="fused",
    show_default=True,
    help="What a candidate's latency is predicted from before it is timed: blocks as they are fused; the same models "
    "without fusion, or their floating-point operations, scaled to the teacher's latency. All that is timed is fused.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "int8", "auto"]),
    help="Of the candidates' products with weights; auto has each size in both, and is scored as it is run.  "
    "[default: what --space names, else fp32]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads of the model, on every device.  [default: each device's own]",
)
@execution_options
@click.option("--out", type=click.Path(path_type=Path), help="Output folder.  [default: pocketbert-DEVICE-TASK-BUDGET]")
@click.option("--resume", is_flag=True, help="Go on with the search in --out.")
@click.option("--require-device", is_flag=True, help="Fail when a device is not attached, instead of simulating it.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of all that is random.")
@click.option("--json", "as_json", is_flag=True, help="Print the content of result.json on standard output.")
@run_command
def main(
    device: str,
    budget: tuple[float, ...],
    pareto: bool,
    also: tuple[tuple[str, float], ...],
    unit: str,
    choice: TaskChoice,
    teacher: str | None,
    trials: int | None,
    finalists: int | None,
    effort: Literal["brief", "full"],
    corpus: Path | None,
    seq_len: int,
    space: Path | None,
    max_size: int | None,
    max_memory: int | None,
    latency_from: Literal["fused", "unfused", "flops"],
    precision: Literal["fp32", "int8", "auto"] | None,
    threads: int | None,
    execution: Execution,
    out: Path | None,
    resume: bool,
    require_device: bool,
    seed: int,
    as_json: bool,
) -> None:
    from search.latencies import DeviceBudget
    from search.optimization.space_file import read_space
    from search.options import SearchOptions, precision_choice
    from search.real_stages import real_stages

    # Before PyTorch loads OpenMP, which reads it then: threads that spin for their next work take the processor from
    # those that have some, where other programs want it too (docs/decisions/first-run.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    budgets = budgets_of(budget, pareto)
    values = read_space(space.expanduser().absolute()) if space else None
    # By name, so that their order on the command line means nothing to a search that goes on.
    further = sorted((DeviceBudget(absolute_if_there(name, ".toml"), most) for name, most in also), key=str)
    options = SearchOptions(
        device=absolute_if_there(device, ".toml"),
        budget_ms=budgets[0],
        **choice.fields(),
        unit=unit,
        teacher=absolute_if_there(teacher) if teacher else None,
        trials=trials or DEFAULT_TRIALS[effort],
        effort=effort,
        corpus=str(corpus.expanduser().absolute()) if corpus else None,
        seq_len=seq_len,
        space=values,
        max_bytes=max_size,
        max_memory=max_memory,
        latency_from=latency_from,
        precision=precision_choice(precision, values),
        threads=threads,
        seed=seed,
        require_device=require_device,
        finalists=finalists or (2 if effort == "full" and len(budgets) == 1 else 1),
        also=tuple(further),
    )
    stages = real_stages()
    choice.check()
    execution.check()
    check(options, stages)
    named = "-".join([*(f"{each:g}ms" for each in budgets), *(f"{each.name}-{each.budget_ms:g}ms" for each in further)])
    folder = out or Path(f"pocketbert-{Path(device).stem}-{choice.name}-{named}")
    if len(budgets) == 1:
        run(options, stages, execution, folder, resume, as_json)
    else:
        run_several(options, budgets, stages, execution, folder, resume, as_json)


def budgets_of(given: tuple[float, ...], pareto: bool) -> tuple[float, ...]:
    """The budgets to search for, ms.

    Raises:
        InputError: one is given twice, or several with ``--pareto``.
    """
    from data.errors import InputError
    from search.front import pareto_budgets

    twice = next((budget for budget in given if given.count(budget) > 1), None)
    if twice is not None:
        raise InputError(f"--budget {twice:g}ms is given twice")
    if pareto and len(given) > 1:
        raise InputError("--pareto takes one --budget, the largest, and finds the others: leave out one of the two")
    return pareto_budgets(*given) if pareto else given


def absolute_if_there(name: str, suffix: str = "") -> str:
    """A path that exists made absolute, so that a search can be resumed from elsewhere; any other name as it is."""
    path = os.path.expanduser(name)
    return str(Path(path).absolute()) if os.path.exists(path) and name.endswith(suffix) else name


def check(options: SearchOptions, stages: Stages) -> None:
    """Refuses before any long work, and before anything is written, what can be known to be wrong.

    Raises:
        InputError: unknown device or teacher, a device named twice, a teacher that is too small or has too few
            positions, more threads than cores, products in int8 on a GPU, or general text that cannot be read.
        DataFileError: the values of --space are beyond the teacher's, or give no architecture.
        StoreError: the measurement store is damaged or cannot be opened.
    """
    from data.store import MeasurementStore
    from search.distillation.corpus import read_corpus
    from search.optimization.space import SearchSpace

    check_devices(options)
    space = options.space
    check_precision(options.precision, options.units, space.path if space and space.precision else None)
    if options.corpus:
        read_corpus(Path(options.corpus))
    # Whatever the task's labels: they come with its texts, which are long in making.
    sizes = stages.teacher_sizes(options.teacher)
    SearchSpace.from_teacher(
        sizes, seq_len=options.seq_len, labels=1, named=options.space, precisions=options.precisions
    )
    MeasurementStore.open().close()


def check_devices(options: SearchOptions) -> None:
    """Each device is known, named once, and has the threads.

    Raises:
        InputError: one is not, or has not.
    """
    from data.device_spec import load_device
    from data.errors import InputError

    names: list[str] = []
    for budget in options.budgets:
        spec = load_device(budget.device)
        if spec.name in names:
            raise InputError(f"--also {budget}: {spec.name} has a budget already: name each device once")
        names.append(spec.name)
        check_threads(spec, options.threads, options.unit)


if __name__ == "__main__":
    main()
