"""The documents of saved predictors: written whole or not at all, with a checksum, and checked where they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.errors import DataFileError

_CHECKSUM, _SCHEMA = "checksum", "schema"


def write_document(path: Path, schema: str, document: Mapping[str, Any], trees: Path) -> None:
    """Writes a predictor's JSON object last and at once, with a checksum over it and over the file of its trees.

    Args:
        path: of the JSON file; its folder exists.
        schema: of the features that the predictor was fitted with.
        document: what JSON can hold.
        trees: XGBoost's own file, which need not be there.
    """
    whole = {_SCHEMA: schema, **document}
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps({**whole, _CHECKSUM: _checksum(whole, trees)}, indent=1), encoding="utf-8")
    partial.replace(path)


def read_document(path: Path, schema: str, trees: Path) -> dict[str, Any]:
    """Inverse of :func:`write_document`.

    Raises:
        DataFileError: it cannot be read, was saved with other features, or is not what was saved: edited, damaged, or
            of another saving than its trees.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataFileError(path, f"the saved predictor cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataFileError(path, "the saved predictor is not JSON: train it again") from error
    found = document.get(_SCHEMA) if isinstance(document, dict) else None
    if found != schema:
        raise DataFileError(path, f"saved with other features ({found}, now {schema}): train the predictor again")
    checksum = document.pop(_CHECKSUM, None)
    if checksum is None:
        raise DataFileError(path, "saved without a checksum, by an older version: train the predictor again")
    if checksum != _checksum(document, trees):
        raise DataFileError(path, f"it or {trees.name} was changed or damaged after it was saved: train it again")
    return dict(document)


def _checksum(document: Mapping[str, Any], trees: Path) -> str:
    plain = json.loads(json.dumps(document))  # tuples and numbers as keys are other things once they are read again
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    try:
        digest.update(trees.read_bytes())
    except FileNotFoundError:
        digest.update(b"no trees")
    except OSError as error:
        raise DataFileError(trees, f"the saved predictor cannot be read: {error.strerror}") from error
    return digest.hexdigest()
