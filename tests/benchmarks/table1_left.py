"""How long the rest of a replay of table 1 takes: from what its rows took so far, and a guess for all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from data.tasks import Example, Task
from search.commands.jobs import teacher_tokens
from search.teachers.families import bert_config
from search.teachers.source import resolve_teacher
from tests.benchmarks.table1_records import RATES, TRIED_SHARE, Settings

_RATE = 5e10  # flops a second of training on two cores, until something is known
_CHARACTERS_EACH = 4.5  # of a token
_TIMING_S = 8.0  # for each row: compiled, compared and timed


@dataclass
class TimeLeft:
    """Seconds a token of each row, learnt as rows are finished; ``guesses`` hold until then."""

    guesses: Mapping[str, float]
    _seen: dict[str, tuple[float, float]] = field(default_factory=dict)

    def observe(self, row: str, tokens: float, seconds: float) -> None:
        """So many tokens of a row took so long."""
        before = self._seen.get(row, (0.0, 0.0))
        self._seen[row] = before[0] + tokens, before[1] + seconds

    @property
    def guessed(self) -> bool:
        """Whether nothing was seen yet."""
        return not self._seen

    def seconds(self, rest: Sequence[tuple[str, float]]) -> float:
        """For the rest: rows, and the tokens that each has to learn from."""
        expected = sum(tokens * self.guesses[row] for row, (tokens, _) in self._seen.items())
        # What this machine does faster or slower than guessed, it does so with all rows.
        pace = sum(seconds for _, seconds in self._seen.values()) / expected if expected else 1.0
        each = {row: seconds / tokens for row, (tokens, seconds) in self._seen.items() if tokens}
        return sum(tokens * each.get(row, pace * self.guesses[row]) for row, tokens in rest)


def guesses(settings: Settings) -> dict[str, float]:
    """Seconds a token, from operations: three passes of the student, one of the teacher."""
    config = bert_config(resolve_teacher(settings.teacher))
    teacher = _encoder_flops(config.num_hidden_layers, config.hidden_size, config.intermediate_size)
    narrow = _encoder_flops(*_without_heads(settings.deep_narrow))
    students = {
        "half-depth": teacher / 2,
        "bottleneck": teacher / 3,
        "random": narrow,
        "undistilled": narrow,
        "distilled": narrow,
        "searched": _encoder_flops(*_without_heads(settings.searched)) if settings.searched else 0.0,
    }
    return {row: (3 * flops + teacher) / _RATE for row, flops in students.items()} | {"teacher": 3 * teacher / _RATE}


def _without_heads(sizes: tuple[int, int, int, int]) -> tuple[int, int, int]:
    return sizes[0], sizes[1], sizes[3]


def _encoder_flops(layers: int, hidden: int, intermediate: int) -> float:
    """Of one token."""
    return 2.0 * layers * (4 * hidden * hidden + 2 * hidden * intermediate)


def tokens_of(settings: Settings, task: Task, row: str, tries: bool) -> float:
    """How many tokens a row has still to learn from; ``tries`` where its rates have still to be tried."""
    if row == "teacher":
        return teacher_tokens(settings.fine_tuning, 0.9 * _tokens(task, settings.seq_len), task.kind)
    return settings.tokens * (1 + (len(settings.rates_of(row)) * TRIED_SHARE if tries and row in RATES else 0))


def _tokens(task: Task, most: int) -> float:
    lengths = [len(each.first) + len(each.second or "") for each in task.train if isinstance(each, Example)]
    return sum(min(most, length / _CHARACTERS_EACH + 3) for length in lengths)


def timing_seconds(rows: int) -> float:
    """For compiling and timing that many rows."""
    return _TIMING_S * rows
