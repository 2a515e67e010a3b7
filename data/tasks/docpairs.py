"""The built-in task: does this sentence document this name?

Pairs of (qualified name with signature, first docstring sentence) from the packages that pocketbert itself
installs. Half are mismatched, with the sentence of another name of the same module. Modules are either
in train or in dev, and what is said word for word in dev is dropped from train.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from data.errors import PocketBertError, StoreError
from data.home import home
from data.tasks.docstrings import Documented, gather
from data.tasks.examples import Example
from data.tasks.task import Task

# Import name -> distribution. All are dependencies of pocketbert, or of torch (networkx, sympy).
SOURCES = {
    "torch": "torch",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "pandas": "pandas",
    "numpy": "numpy",
    "botorch": "botorch",
    "gpytorch": "gpytorch",
    "matplotlib": "matplotlib",
    "networkx": "networkx",
    "sympy": "sympy",
}
TRAIN_PAIRS = 8000
DEV_PAIRS = 1600
_RECIPE = 1  # raised when gathering or pairing changes, so that old caches are not read


def load_docpairs(seed: int = 0) -> Task:
    """The docpairs task; equal package versions and seeds give equal tasks.

    Raises:
        StoreError: the cache under :func:`data.home.home` cannot be written.
        PocketBertError: too few documented names are installed.
    """
    train, dev = make_pairs(documented_names(), seed, TRAIN_PAIRS, DEV_PAIRS)
    if min(len(train), len(dev)) < DEV_PAIRS // 4:
        raise PocketBertError("docpairs: the installed packages hold too few docstrings (python -OO installation?)")
    return Task("docpairs", "classification", ("mismatched", "matched"), "accuracy", train, dev)


def documented_names() -> list[Documented]:
    """All documented names of ``SOURCES``, from the cache or by parsing (about 20 s)."""
    path = home() / "tasks" / f"docpairs-{_versions_hash()}.json"
    cached = _read_cache(path)
    if cached is None:
        cached = [item for package in SOURCES for item in gather(package)]
        _write_cache(path, cached)
    return cached


def make_pairs(
    names: Iterable[Documented], seed: int, train_pairs: int, dev_pairs: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Balanced (train, dev) pairs; no module, name or sentence of dev occurs in train."""
    generator = random.Random(seed)
    modules: dict[str, list[Documented]] = defaultdict(list)
    for item in names:
        modules[item.module].append(item)
    order = sorted(module for module, items in modules.items() if len({item.sentence for item in items}) > 1)
    generator.shuffle(order)
    dev: list[Example] = []
    while order and len(dev) < dev_pairs:
        dev.extend(_pairs_of_module(modules[order.pop()], generator))
    known = {text for example in dev for text in (example.first, example.second)}
    train = [
        example
        for module in order
        for example in _pairs_of_module(modules[module], generator)
        if example.first not in known and example.second not in known
    ]
    return _balanced(train, train_pairs, generator), _balanced(dev, dev_pairs, generator)


def _pairs_of_module(items: Sequence[Documented], generator: random.Random) -> list[Example]:
    """One pair per name; every second one, in a random order, is mismatched."""
    pairs = []
    offset = generator.randrange(2)
    for index, item in enumerate(generator.sample(items, len(items)), start=offset):
        others = [other.sentence for other in items if other.sentence != item.sentence]
        matched = index % 2 == 0 or not others
        sentence = item.sentence if matched else generator.choice(others)
        pairs.append(Example(item.name, sentence, float(matched)))
    return pairs


def _balanced(examples: Sequence[Example], count: int, generator: random.Random) -> tuple[Example, ...]:
    matched = [example for example in examples if example.label]
    mismatched = [example for example in examples if not example.label]
    half = min(count // 2, len(matched), len(mismatched))
    chosen = generator.sample(matched, half) + generator.sample(mismatched, half)
    generator.shuffle(chosen)
    return tuple(chosen)


def _versions_hash() -> str:
    versions = {package: _installed_version(distribution) for package, distribution in SOURCES.items()}
    return hashlib.sha256(json.dumps([_RECIPE, versions], sort_keys=True).encode()).hexdigest()[:16]


def _installed_version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _read_cache(path: Path) -> list[Documented] | None:
    """What is cached, or None where there is nothing or not what was written: it is then gathered anew."""
    from pydantic import TypeAdapter, ValidationError

    try:
        names = TypeAdapter(list[Documented]).validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error
    return names or None


def _write_cache(path: Path, names: Sequence[Documented]) -> None:
    """Write at once or not at all, for another search may be reading."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump([list(item) for item in names], file)
        os.replace(file.name, path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
