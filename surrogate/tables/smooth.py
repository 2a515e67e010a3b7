"""A smooth correction: kernel ridge regression on what a base leaves over, chosen by what is left out, in closed form.

It is the mean of a Gaussian process with a squared-exponential kernel (Rasmussen and Williams, Gaussian Processes for
Machine Learning, 2006, chapters 2 and 5). Unlike trees it already helps with a few dozen rows, and it goes back to the
base where nothing was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# Length scales, in root mean square distance over the features, and ratios of noise to signal variance.
_LENGTHS = (0.5, 1.0, 2.0, 4.0)
_NOISES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
# Beyond this the eigenvalues take seconds, and trees have enough rows.
_MOST_ROWS = 2000
_FEWEST_ROWS = 12


@dataclass(frozen=True)
class Smooth:
    """``points`` (m, f) standardised features, ``weights`` (m,); without points it corrects nothing."""

    points: np.ndarray
    weights: np.ndarray
    length: float = 1.0

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """(n,) correction of the logarithm at standardised features (n, f)."""
        if len(self.points) == 0:
            return np.zeros(len(inputs))
        return np.asarray(kernel(inputs, self.points, self.length) @ self.weights)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary."""
        return {"points": self.points.tolist(), "weights": self.weights.tolist(), "length": self.length}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Smooth:
        """Inverse of :meth:`to_dict`."""
        points = np.array(document["points"], dtype=np.float64)
        return cls(points, np.array(document["weights"], dtype=np.float64), float(document["length"]))


NOTHING = Smooth(np.zeros((0, 0)), np.zeros(0))


def kernel(left: np.ndarray, right: np.ndarray, length: float) -> np.ndarray:
    """(n, m) squared-exponential similarity of standardised features (n, f) and (m, f)."""
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2 * left @ right.T
    return np.asarray(np.exp(-np.maximum(squares, 0.0) / (2 * left.shape[1] * length**2)))


def left_out(
    vectors: np.ndarray, inverse: np.ndarray, dual: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) errors and (n,) variances of rows when all rows of their group (n,) are left out, without fitting again.

    ``vectors`` (n, n) and ``inverse`` (n,) are the covariance's eigenvectors and inverse eigenvalues, ``dual`` (n,) its
    inverse times the observations (Rasmussen and Williams, 2006, 5.10-5.12; by blocks for groups).
    """
    precision = vectors**2 @ inverse
    errors, variances = dual / precision, 1 / precision
    _, which, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    for group in np.flatnonzero(sizes > 1):
        rows = np.flatnonzero(which == group)
        block = np.linalg.inv((vectors[rows] * inverse) @ vectors[rows].T)
        errors[rows], variances[rows] = block @ dual[rows], np.diag(block)
    return errors, variances


def choose_smooth(inputs: np.ndarray, residuals: np.ndarray, groups: np.ndarray) -> tuple[float, float] | None:
    """(length, noise) with the least error on groups (n,) left out, at standardised features (n, f); None where none
    helps."""
    if not _FEWEST_ROWS <= len(residuals) <= _MOST_ROWS:
        return None
    best, choice = float(np.abs(residuals).mean()), None
    for length in _LENGTHS:
        values, vectors = np.linalg.eigh(kernel(inputs, inputs, length))
        rotated = vectors.T @ residuals
        for noise in _NOISES:
            inverse = 1 / (np.maximum(values, 0.0) + noise)
            error = float(np.abs(left_out(vectors, inverse, vectors @ (inverse * rotated), groups)[0]).mean())
            if error < best:
                best, choice = error, (length, noise)
    return choice


def fit_smooth(choice: tuple[float, float] | None, inputs: np.ndarray, residuals: np.ndarray) -> Smooth:
    """The correction of a given (length, noise) for residuals (n,) at standardised features (n, f)."""
    if choice is None:
        return NOTHING
    length, noise = choice
    matrix = kernel(inputs, inputs, length) + noise * np.eye(len(inputs))
    return Smooth(inputs, np.linalg.solve(matrix, residuals), length)
