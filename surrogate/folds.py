"""Folds for cross-validation that split neither an architecture nor a session."""

from __future__ import annotations

import numpy as np

# A session that holds nearly every row leaves nothing to learn from.
_FEWEST_LEFT = 3


def row_groups(inputs: np.ndarray, sessions: np.ndarray | None = None) -> np.ndarray:
    """(n,) group of each row: equal features (n, f) are one architecture, and what shares a session (n,) stays with it.

    Sessions count only where they leave at least two groups and each of them enough rows outside it: a table of one
    session, or of sessions that measured the same architectures, is grouped by architecture alone.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, models = np.unique(inputs, axis=0, return_inverse=True)
    models = models.reshape(-1)
    if sessions is None:
        return np.asarray(models)
    _, names = np.unique(sessions.astype(str), return_inverse=True)
    size = int(models.max()) + 1 + int(names.max()) + 1
    links = coo_array((np.ones(len(models)), (models, int(models.max()) + 1 + names)), shape=(size, size))
    joined = connected_components(links, directed=False)[1][models]
    _, sizes = np.unique(joined, return_counts=True)
    return np.asarray(joined if len(inputs) - sizes.max() >= _FEWEST_LEFT else models)


def grouped_folds(groups: np.ndarray, wanted: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(train, test) row indices of at most ``wanted`` folds; no group (n,) lies on both sides.

    A single group is cut by rows: there is nothing else to judge by.
    """
    from sklearn.model_selection import GroupKFold

    count = len(np.unique(groups))
    labels = groups if count > 1 else np.arange(len(groups))
    folds = GroupKFold(min(wanted, len(np.unique(labels))), shuffle=True, random_state=seed)
    return [(train, test) for train, test in folds.split(labels, groups=labels)]
