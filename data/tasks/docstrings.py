"""Documented names of installed packages, gathered by parsing their source; nothing is imported."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

_MAX_ARGUMENTS = 6
_MAX_WORDS = 24
_MIN_WORDS = 3
_ROLE = re.compile(r":[\w:.+-]+:`[~!.]?([^`<]*?)(?:\s*<[^`]*>)?`")
_MARKUP = re.compile(r"[`*]+")
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)\]'\"])[.:](?=\s|$)")
_SKIPPED = frozenset({"tests", "test", "testing", "_dynamo", "_inductor", "_vendor", "externals", "benchmarks"})


class Documented(NamedTuple):
    """A function or class: its module, qualified name with signature, first docstring sentence."""

    module: str
    name: str
    sentence: str


def gather(package: str) -> list[Documented]:
    """Public documented functions and classes of an installed package, in the order of its files.

    A package that is not installed gives none. Files that this Python cannot parse are passed over, for
    packages ship templates and code for other versions.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return []
    root = Path(spec.origin).parent
    found: list[Documented] = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if _SKIPPED.isdisjoint(parts) and not parts[-1].startswith(("test_", "conftest")):
            found.extend(_of_file(path, ".".join((package, *parts)).removesuffix(".__init__")))
    return found


def _of_file(path: Path, module: str) -> list[Documented]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # other people's invalid escapes
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError):
        return []
    seen: dict[str, Documented] = {}
    for qualified, node in _public_definitions(tree.body, ()):
        sentence = first_sentence(ast.get_docstring(node) or "")
        if sentence:
            seen.setdefault(qualified, Documented(module, f"{qualified}({_signature(node)})", sentence))
    return list(seen.values())


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _public_definitions(body: list[ast.stmt], owner: tuple[str, ...]) -> Iterator[tuple[str, Definition]]:
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            path = (*owner, node.name)
            yield ".".join(path), node
            if isinstance(node, ast.ClassDef):
                yield from _public_definitions(node.body, path)


def _signature(node: Definition) -> str:
    """Names of the first arguments; a class has those of its ``__init__``."""
    function: ast.stmt | None = node
    if isinstance(node, ast.ClassDef):
        function = next(
            (item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None
        )
    if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
        return ""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    names = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
    return ", ".join(names[:_MAX_ARGUMENTS])


def first_sentence(docstring: str) -> str:
    """First sentence of a docstring as plain text, cut to some 24 words; empty where it says too little."""
    paragraph = docstring.strip().split("\n\n", maxsplit=1)[0]
    text = " ".join(_MARKUP.sub("", _ROLE.sub(r"\1", paragraph)).split())
    words = _SENTENCE_END.split(text, maxsplit=1)[0].split()
    return " ".join(words[:_MAX_WORDS]) if len(words) >= _MIN_WORDS and ">>>" not in words else ""
