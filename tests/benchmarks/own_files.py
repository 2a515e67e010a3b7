"""Files as users bring them, of real text and real labels: what the docstrings of installed packages say.

    python -m tests.benchmarks.own_files --out DIR

writes DIR/packages.csv (a docstring's first sentence, and which of three packages it is from: three classes) and
DIR/references.conll (the words of docstrings, and which of them are names of classes, functions, methods or modules,
by the roles that Sphinx's markup gives them: named entities). Both go through `search`:

    search --device host --budget 4ms --train DIR/packages.csv
    search --device host --budget 4ms --train DIR/references.conll
"""

from __future__ import annotations

import argparse
import ast
import csv
import random
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from data.tasks.docstrings import gather

PACKAGES = ("torch", "scipy", "sympy")
REFERRING = ("torch", "sklearn", "matplotlib", "networkx", "scipy", "sympy", "numpy", "pandas")
_MOST_EACH, _MOST_SENTENCES = 1500, 4000
_ROLE = re.compile(r":(?:py:)?(class|func|meth|mod|attr):`[~!.]?([\w.]+)(?:\(\))?`")
_TAGS = {"class": "CLASS", "func": "FUNCTION", "meth": "METHOD", "mod": "MODULE", "attr": "ATTRIBUTE"}
_WORD = re.compile(r"\w+(?:[.'-]\w+)*|[^\w\s]")
_MARKUP = re.compile(r"[`*]+")


def write_packages(path: Path) -> int:
    """The three-class file; returns its number of rows."""
    rows = []
    for package in PACKAGES:
        sentences = sorted({item.sentence for item in gather(package)})
        rows += [(sentence, package) for sentence in random.Random(0).sample(sentences, _MOST_EACH)]
    random.Random(1).shuffle(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("sentence", "package"))
        writer.writerows(rows)
    return len(rows)


def write_references(path: Path) -> int:
    """The CoNLL file; returns its number of sentences."""
    found = {tuple(tagged) for package in REFERRING for tagged in _tagged_sentences(package)}
    chosen = random.Random(0).sample(sorted(found), min(_MOST_SENTENCES, len(found)))
    text = "\n\n".join("\n".join(f"{word} {tag}" for word, tag in sentence) for sentence in chosen)
    path.write_text(text + "\n", encoding="utf-8")
    return len(chosen)


def _tagged_sentences(package: str) -> Iterator[list[tuple[str, str]]]:
    """Words with their tags, of each sentence of a package's docstrings that refers to something."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed")
    for path in sorted(Path(spec.origin).parent.rglob("*.py")):
        for docstring in _docstrings(path):
            for sentence in _sentences(docstring) if _ROLE.search(docstring) else ():
                tagged = _tagged(sentence)
                if 4 <= len(tagged) <= 60 and any(tag != "O" for _, tag in tagged):
                    yield tagged


def _sentences(docstring: str) -> Iterator[str]:
    """Those of all paragraphs, each on one line."""
    for paragraph in docstring.split("\n\n"):
        yield from re.split(r"(?<=[a-z)`]\.) ", " ".join(paragraph.split()))


def _docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # templates, and code for other versions
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            yield ast.get_docstring(node) or ""


def _tagged(sentence: str) -> list[tuple[str, str]]:
    tagged: list[tuple[str, str]] = []
    end = 0
    for match in _ROLE.finditer(sentence):
        tagged += [(word, "O") for word in _WORD.findall(_MARKUP.sub("", sentence[end : match.start()]))]
        tagged.append((match[2], f"B-{_TAGS[match[1]]}"))
        end = match.end()
    return tagged + [(word, "O") for word in _WORD.findall(_MARKUP.sub("", sentence[end:]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    print(f"{out / 'packages.csv'}: {write_packages(out / 'packages.csv')} sentences")
    print(f"{out / 'references.conll'}: {write_references(out / 'references.conll')} sentences")


if __name__ == "__main__":
    main()
