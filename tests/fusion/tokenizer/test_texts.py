"""What is no text is refused, with the place; what does not fit is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion.tokenizer.tokenizer_table import tokenizer_table
from tests.fusion.tokenizer import checkpoints
from tests.fusion.tokenizer.native import NativeTokenizer

LENGTH = 16


@pytest.fixture(scope="module")
def native(library: Path, tmp_path_factory: Any) -> Iterator[NativeTokenizer]:
    """RoBERTa's tokenizer, which needs two special tokens for a text and four for two."""
    made = checkpoints.roberta_tokenizer(checkpoints.byte_pairs())
    tokenizer = NativeTokenizer(library, tokenizer_table(checkpoints.saved(made, tmp_path_factory.mktemp("roberta"))))
    yield tokenizer
    tokenizer.close()


def arrays(length: int = LENGTH) -> tuple[np.ndarray, ...]:
    return (*(np.full(length, -7, np.int64) for _ in range(3)), np.full((length, 3), -7, np.int32))


@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(text=st.binary(max_size=12) | st.text(st.characters()).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_what_is_not_utf8_is_refused_with_its_place(native: NativeTokenizer, text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        for name, texts in (("text", (text, b"a")), ("pair", (b"a", text))):
            with pytest.raises(ValueError, match=f"^{name} is not UTF-8: what begins at byte {error.start} is no char"):
                native.raw(*texts, LENGTH, arrays())
    else:
        assert native.raw(text, None, LENGTH, arrays()) >= 2


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"ab\xed\xa0\x80", 2),  # an unpaired surrogate
        (b"\xed\xa0\xbd\xed\xb8\x80", 0),  # a pair of them
        (b"\xc0\xaf", 0),  # overlong
        (b"a\xe0\x9f\xbf", 1),
        (b"aa\xf4\x90\x80\x80", 2),  # beyond the last code point
        (b"\xf0\x9f\x98", 0),  # cut within a character
        ("é".encode() + b"\xff", 2),
        (b"a" * 100_000 + b"\x80", 100_000),
    ],
)
def test_the_place_of_the_first_wrong_byte(native: NativeTokenizer, text: bytes, place: int) -> None:
    with pytest.raises(ValueError, match=f"text is not UTF-8: what begins at byte {place} is no character"):
        native.raw(text, None, LENGTH, arrays())


def test_bytes_of_nul_are_text(native: NativeTokenizer) -> None:
    assert native.encode("a\0b").ids[:5] != native.encode("a").ids[:5]
    assert native.encode("a\0b").spans[3] == (2, 3)


def test_an_empty_text_is_special_tokens_alone(native: NativeTokenizer) -> None:
    assert sum(native.encode("", None, 5).mask) == 2
    assert sum(native.encode("", "", 5).mask) == 4


@pytest.mark.parametrize(("pair", "needed"), [(None, 2), (b"b", 4)])
def test_positions_for_the_special_tokens_are_needed(native: NativeTokenizer, pair: bytes | None, needed: int) -> None:
    for length in (-1, 0, needed - 1):
        with pytest.raises(ValueError, match=f"{length} positions are less than the {needed} special tokens"):
            native.raw(b"a", pair, length, arrays())
    assert native.raw(b"a", pair, needed, arrays()) == needed
    assert native.removed == (1 if pair is None else 2)


def test_tokens_that_do_not_fit_are_an_error_unless_they_are_counted(native: NativeTokenizer) -> None:
    needed = native.raw(b"12345", None, LENGTH, arrays(), cuts=False)
    short = needed - 1
    with pytest.raises(ValueError, match=f"1 tokens more than the {short} positions hold"):
        native.raw(b"12345", None, short, arrays(), cuts=False)
    assert native.raw(b"12345", None, short, arrays()) == short
    assert native.removed == 1
