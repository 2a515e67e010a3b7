"""What whoever brought the data should know of it: repeated texts, classes that are rare, dev texts seen in train."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path

from data.errors import DataFileError
from data.tasks.examples import Example, Examples, TaggedWords, text_of

Located = tuple[int, Example | TaggedWords]
_FEW = 100  # dev examples, of which a score says little


def repeated(path: Path, rows: Sequence[Located]) -> tuple[str, ...]:
    """Examples that occur again, with the same label or another."""
    seen: dict[Hashable, Located] = {}
    again: list[tuple[int, int]] = []
    other: list[tuple[int, int]] = []
    for row, example in rows:
        before, first = seen.setdefault(text_of(example), (row, example))
        if before != row:
            (again if _same(first, example) else other).append((before, row))
    return tuple(
        f"{path.name}: {len(found)} of {len(rows)} examples {what}, first in rows {found[0][0]} and {found[0][1]}"
        for found, what in (
            (again, "repeat an earlier one"),
            (other, "have the text of an earlier one and another label"),
        )
        if found
    )


def _same(one: Example | TaggedWords, other: Example | TaggedWords) -> bool:
    """Equal, where no label equals no label."""
    unlabelled = all(isinstance(each, Example) and math.isnan(each.label) for each in (one, other))
    return unlabelled or one == other


def seen_in_train(
    train_path: Path, train: Sequence[Located], dev_path: Path, dev: Sequence[Located]
) -> tuple[str, ...]:
    """Dev texts that are also in train.

    Raises:
        DataFileError: all of them are.
    """
    known = {text_of(example): row for row, example in reversed(train)}
    both = [(row, known[text_of(example)]) for row, example in dev if text_of(example) in known]
    if not both:
        return ()
    place = f"row {both[0][0]} is row {both[0][1]} of {train_path.name}"
    if len(both) == len(dev):
        raise DataFileError(dev_path, f"all {len(dev)} examples are in the training file too ({place})", both[0][0])
    return (f"{dev_path.name}: {len(both)} of {len(dev)} texts are in train too, which flatters scores ({place})",)


def classes(path: Path, names: Sequence[str], train: Examples, dev: Examples) -> tuple[str, ...]:
    """Classes with next to no examples, or whose names differ in capital letters only."""
    counts, in_dev = (Counter(int(each.label) for each in part if isinstance(each, Example)) for part in (train, dev))
    said = []
    for count, told in ((0, "no example"), (1, "one example each")):
        rare = [name for code, name in enumerate(names) if counts[code] == count]
        if rare:
            said.append(f"{path.name}: {told} of the classes {_some(rare)}")
    missing = [name for code, name in enumerate(names) if dev and not in_dev[code]]
    if missing:
        said.append(f"dev has no example of {_some(missing)}, so that no score tells of it")
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[name.casefold()].append(name)
    said += [
        f"{path.name}: {_some(group)} are taken as different classes" for group in alike.values() if len(group) > 1
    ]
    return tuple(said)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def few(dev: Sequence[object]) -> tuple[str, ...]:
    """How little a small dev set says."""
    if len(dev) >= _FEW:
        return ()
    points = 50 / math.sqrt(len(dev))
    return (f"dev has {len(dev)} examples: chance alone moves a score by some {points:.0f} points",)
