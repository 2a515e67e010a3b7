"""Running ``search`` for one budget or for several, with live progress, and showing what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from search.commands._options import ProgressPrinter, console, emit_json

if TYPE_CHECKING:
    from search.commands.execution_options import Execution
    from search.options import SearchOptions
    from search.result import SearchResult
    from search.stages import Stages
    from search.study import Study


def run(
    options: SearchOptions, stages: Stages, execution: Execution, folder: Path, resume: bool, as_json: bool
) -> None:
    """Searches for one budget in ``folder``; on Ctrl-C says what is kept and how to go on."""
    from search.pipeline import run_search
    from search.reports.summary import resume_command
    from search.study import holds_trials, open_study

    begun = holds_trials(folder)
    with (
        kept(folder, resume_command(options, folder) + execution.arguments),
        open_study(folder, options, resume=resume) as study,
        progress_of(options, [study]) as progress,
        execution.open(progress.note) as executor,
    ):
        if resume and not begun:
            progress.note(f"{folder} holds no search that could go on: beginning one")
        result = run_search(study, stages, progress, progress.note, executor=executor)
    show(result, folder, as_json)


def run_several(
    options: SearchOptions,
    budgets_ms: Sequence[float],
    stages: Stages,
    execution: Execution,
    folder: Path,
    resume: bool,
    as_json: bool,
) -> None:
    """Searches for each budget in a folder of its own below ``folder``."""
    from search.front import folder_of, open_studies, options_of_each, run_front
    from search.reports.front_report import front_document, front_table
    from search.reports.summary import resume_command
    from search.study import holds_trials

    each = options_of_each(options, budgets_ms)
    begun = any(holds_trials(folder_of(folder, one)) for one in each)
    with (
        kept(folder, resume_command(options, folder, budgets_ms) + execution.arguments),
        open_studies(folder, each, resume=resume) as studies,
        progress_of(each[0], studies) as progress,
        execution.open(progress.note) as executor,
    ):
        if resume and not begun:
            progress.note(f"{folder} holds no search that could go on: beginning one")
        outcomes = run_front(folder, studies, stages, progress, progress.note, executor)
    terminal = console()
    terminal.print(front_table(outcomes))
    for outcome in outcomes:
        if outcome.result:
            tell_pending(outcome.result, folder / outcome.folder)
    terminal.print(f"report in {folder / 'report.html'}", soft_wrap=True, markup=False)
    if as_json:
        emit_json(front_document(outcomes, folder))


@contextmanager
def kept(folder: Path, command: str) -> Iterator[None]:
    """Ctrl-C ends what is within with the command that goes on."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"all that was finished is kept in {folder}; go on with: {command}") from error


def progress_of(options: SearchOptions, studies: Sequence[Study]) -> ProgressPrinter:
    """Live progress that knows how much of the studies there is still to do."""
    from search.commands.jobs import search_job
    from search.result import SearchResult

    unfinished = [study for study in studies if study.load("result", SearchResult) is None]
    done = [sum(trial.status != "proposed" for trial in study.trials()) for study in unfinished]
    left = [max(options.trials - count, 0) for count in done]
    return ProgressPrinter(search_job(options, left) if left else None)


def show(result: SearchResult, folder: Path, as_json: bool) -> None:
    """The table and the files on standard error, the document on standard output when it is wanted."""
    from search.reports.devices import devices_table
    from search.reports.summary import final_table, result_document

    terminal = console()
    terminal.print(final_table(result))
    if result.also:
        terminal.print(devices_table(result))
    tell_pending(result, folder)
    terminal.print(f"model in {folder / 'best'}, report in {folder / 'report.html'}", soft_wrap=True, markup=False)
    if as_json:
        emit_json(result_document(result, folder))


def tell_pending(result: SearchResult, folder: Path) -> None:
    """The command that confirms a search whose device was not attached."""
    from profiling.simulated import simulated_note
    from search.reports.devices import where_pending
    from search.reports.summary import pending_command

    pending = pending_command(result, folder)
    if pending:
        terminal, attached = console(), "all devices attached at once" if result.also else "the device attached"
        simulated = f"{where_pending(result)} simulated ({simulated_note()})"
        told = f"confirmation pending: {simulated}; with {attached}, complete it with"
        terminal.print(told, markup=False)
        terminal.print(f"  {pending}", soft_wrap=True, markup=False)
