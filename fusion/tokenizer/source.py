"""A checkpoint's fast tokenizer as it is read: what Hugging Face's library makes of its files, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from data.errors import DataFileError, PocketBertError, UnsupportedTokenizerError, first_line
from fusion.checkpoints.loading import quiet_transformers

_RAISED = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError)
# Of which one at least lies where a tokenizer does; SentencePiece models have names of their own.
_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


@dataclass(frozen=True)
class TokenizerSource:
    """A tokenizer's parts as ``tokenizer.json`` names them, and what transformers tells it at each call."""

    directory: Path
    parts: Mapping[str, Any]
    padding_id: int
    padding_type: int
    pads_left: bool
    cuts_left: bool

    def refuse(self, part: str) -> NoReturn:
        """``UnsupportedTokenizerError`` that names the part which the C tokenizer does not know."""
        raise UnsupportedTokenizerError(self.directory, part)


@dataclass(frozen=True)
class TokenizerErrors:
    """A context in which what transformers and tokenizers raise of damaged files is raised as ``told`` tells it.

    The Rust library raises bare ``Exception``, of which any ``except`` would catch every other error as well.
    """

    told: Callable[[Exception], PocketBertError]

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, _RAISED) or (kind is Exception and isinstance(error, Exception)):
            raise self.told(error) from error


def has_tokenizer(directory: Path) -> bool:
    """Whether files of a tokenizer lie in the directory."""
    return any(path.is_file() for pattern in _FILES for path in directory.glob(pattern))


def read_tokenizer(directory: Path) -> TokenizerSource:
    """The tokenizer of a Hugging Face directory, of the class that the directory declares.

    Raises:
        DataFileError: transformers cannot read it.
        UnsupportedTokenizerError: it is not one of the fast ones, lacks padding, or splits special tokens.
    """
    tokenizer = _loaded(directory)
    if not getattr(tokenizer, "is_fast", False):
        raise UnsupportedTokenizerError(directory, f"code in Python ({type(tokenizer).__name__})")
    if tokenizer.pad_token_id is None:
        raise UnsupportedTokenizerError(directory, "no padding token")
    if getattr(tokenizer, "split_special_tokens", False):
        raise UnsupportedTokenizerError(directory, "split_special_tokens")
    return TokenizerSource(
        directory,
        json.loads(tokenizer.backend_tokenizer.to_str()),
        padding_id=tokenizer.pad_token_id,
        padding_type=tokenizer.pad_token_type_id,
        pads_left=tokenizer.padding_side == "left",
        cuts_left=tokenizer.truncation_side == "left",
    )


def _loaded(directory: Path) -> Any:
    from transformers import AutoTokenizer

    def told(error: Exception) -> DataFileError:
        return DataFileError(directory, f"its tokenizer cannot be read ({first_line(error)})")

    with TokenizerErrors(told), quiet_transformers():
        return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
