"""Rows that cannot be used: a few among many are left out and said, more of them are an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from data.errors import DataFileError

# Of all rows. Public sets of hundreds of thousands of texts have a few broken ones; a file with more is misread.
_SHARE = 0.01


@dataclass
class BadRows:
    """What is wrong with rows of one file, in the order in which it was found."""

    path: Path
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, row: int, problem: str) -> None:
        """Row ``row`` (a line, counted from 1, where the file has lines) cannot be used."""
        self.found.append((row, problem))

    def settle(self, rows: int) -> tuple[str, ...]:
        """What to say of those left out, beside ``rows`` that are used.

        Raises:
            DataFileError: they are more than a hundredth of all, or no rows are left; the first is named.
        """
        if not rows and not self.found:
            raise DataFileError(self.path, "no examples: nothing follows the header, or the file is empty")
        if not self.found:
            return ()
        row, problem = min(self.found)
        count, total = len(self.found), rows + len(self.found)
        if count > _SHARE * total:
            others = f" (and {count - 1} more of {total} rows cannot be used)" if count > 1 else ""
            raise DataFileError(self.path, f"{problem}{others}", row)
        return (f"{self.path.name}: {count} of {total} rows cannot be used and are left out, first {row}: {problem}",)
