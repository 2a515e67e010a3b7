"""What a search is asked for: its options, and the sizes of its space where a file names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from data.architecture import Precision
from data.errors import InputError
from data.tasks import Kind
from search.latencies import DeviceBudget

# What is believed of latency before anything is measured: of blocks as the compiler fuses them; of the same models
# operator by operator; of floating-point operations. The last two agree with what is measured in the teacher alone.
LatencySource = Literal["fused", "unfused", "flops"]

# What a search chooses among. fp16 is no part of it: whoever calculates in half has dot products of bytes too, at twice
# the rate again.
SearchedPrecision = Literal["fp32", "int8"]
# The slowest first.
SEARCHED_PRECISIONS: tuple[SearchedPrecision, ...] = get_args(SearchedPrecision)
# A precision that every candidate has, or auto: each size is there in all of them.
PrecisionChoice = Literal["fp32", "int8", "auto"]


@dataclass(frozen=True)
class SpaceFile:
    """Candidate values that a file at ``path`` names, ascending; None where it names none, and the default holds.

    ``heads`` are numbers of heads, ``head_size`` widths of one: a file names one of the two at most. ``precision`` are
    some of ``SEARCHED_PRECISIONS``, in their order.
    """

    path: str
    layers: tuple[int, ...] | None = None
    hidden: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    head_size: tuple[int, ...] | None = None
    intermediate: tuple[int, ...] | None = None
    precision: tuple[SearchedPrecision, ...] | None = None


def precisions_of(choice: PrecisionChoice) -> tuple[Precision, ...]:
    """The precisions that models have."""
    return SEARCHED_PRECISIONS if choice == "auto" else (choice,)


def precision_choice(given: PrecisionChoice | None, space: SpaceFile | None) -> PrecisionChoice:
    """The precision that a search has, from what ``--precision`` says and what the file of ``--space`` names; fp32
    where neither says any.

    Raises:
        InputError: both do, and they differ.
    """
    if space is None or space.precision is None:
        return given or "fp32"
    if given and set(precisions_of(given)) != set(space.precision):
        raise InputError(
            f"--precision {given} contradicts {space.path}, whose precisions are {', '.join(space.precision)}: "
            "leave out --precision, or name the same there"
        )
    return "auto" if len(space.precision) > 1 else space.precision[0]


@dataclass(frozen=True)
class SearchOptions:
    """What the user asked for. ``budget_ms`` is milliseconds, ``max_bytes`` bytes of fp32 weights, ``max_memory``
    bytes of memory that the compiled model holds while it runs.

    ``unit`` is ``cpu``, ``gpu``, or both with a comma: the faster one. ``also`` are further devices, whose budgets the
    model has to keep as well. ``threads`` None means each device's own
    default. ``train``, ``dev`` and the names of columns are those of a task of the user's own, which ``task`` is then
    the name of; ``task`` may be the path of a task file as well. ``effort`` is how much is spent on learning,
    ``corpus`` a file of general text, ``finalists`` how many are to meet the budget in the final, ``latency_from``
    where predictions come from, ``precision`` in what candidates' products are computed: ``auto`` has each size in all
    precisions. A study is resumed only with equal options, except for ``require_device``, which does
    not change what is searched.
    """

    device: str
    budget_ms: float
    task: str
    unit: str = "cpu"
    data_dir: str | None = None
    teacher: str | None = None
    trials: int = 6
    seq_len: int = 128
    max_bytes: int | None = None
    threads: int | None = None
    seed: int = 0
    require_device: bool = False
    train: str | None = None
    dev: str | None = None
    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    kind: Kind | None = None
    metric: str | None = None
    effort: Literal["brief", "full"] = "full"
    corpus: str | None = None
    finalists: int = 2
    space: SpaceFile | None = None
    max_memory: int | None = None
    also: tuple[DeviceBudget, ...] = ()
    latency_from: LatencySource = "fused"
    precision: PrecisionChoice = "fp32"

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that candidates have."""
        return precisions_of(self.precision)

    @property
    def units(self) -> tuple[str, ...]:
        """The units that are asked for."""
        return tuple(self.unit.split(","))

    @property
    def budgets(self) -> tuple[DeviceBudget, ...]:
        """Every device with its budget, ``device`` first."""
        return DeviceBudget(self.device, self.budget_ms), *self.also

    @property
    def budgets_ms(self) -> tuple[float, ...]:
        """The budget on every device, ms, in the order of :attr:`budgets`."""
        return tuple(each.budget_ms for each in self.budgets)
