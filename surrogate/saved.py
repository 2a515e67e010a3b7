"""The documents of saved predictors, checked where they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data.errors import DataFileError


def read_document(path: Path, schema: str) -> dict[str, Any]:
    """The JSON object of a saved predictor, refused if its features are not of this version."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataFileError(path, f"the saved predictor cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataFileError(path, "the saved predictor is not JSON: train it again") from error
    found = document.get("schema") if isinstance(document, dict) else None
    if found != schema:
        raise DataFileError(path, f"saved with other features ({found}, now {schema}): train the predictor again")
    return dict(document)
