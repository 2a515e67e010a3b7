"""A checkpoint's tokenizer as one table, which the C of ``runtime/text`` reads."""

from __future__ import annotations
