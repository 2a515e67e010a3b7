"""Code points of which Python's Unicode says something else than Hugging Face's tokenizers do.

    python -m tests.benchmarks.tokenizer_unicode

Prints how many there are for each question that a tokenizer asks: why the tables are made of the library's answers.
"""

from __future__ import annotations

import unicodedata

import click
import numpy as np
from tokenizers import Regex, normalizers, pre_tokenizers

from fusion.tokenizer.questions import characters, isolated, normalised, removed


def _is_punctuation(character: str) -> bool:
    """As BERT has it: by category, or any of ASCII that is neither letter, digit nor space."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character)[0] == "P"


def _without_accents(character: str) -> str:
    parts = unicodedata.normalize("NFD", character)
    return "".join(part for part in parts if unicodedata.category(part) != "Mn").lower()


def _differing(own: np.ndarray, expected: list[bool]) -> int:
    return sum(bool(own[ord(one)]) != said for one, said in zip(characters(), expected, strict=True))


@click.command(help=__doc__)
def main() -> None:
    every = characters()
    categories = [unicodedata.category(one)[0] for one in every]
    click.echo(f"Python's Unicode is {unicodedata.unidata_version}")
    for name, letter in ((r"\p{L}", "L"), (r"\p{N}", "N")):
        own = removed(pre_tokenizers.Split(Regex(name), "removed"))
        click.echo(f"{name}: {_differing(own, [category == letter for category in categories])}")
    words = isolated(pre_tokenizers.BertPreTokenizer())
    click.echo(f"BERT's punctuation: {_differing(words, list(map(_is_punctuation, every)))}")
    bert = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=True)
    becomes = normalised(bert.normalize_str, every)
    differ = sum(_without_accents(one) != own for one, own in zip(every, becomes, strict=True))
    click.echo(f"lower case without accents: {differ}")


if __name__ == "__main__":
    main()
