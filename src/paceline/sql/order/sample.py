"""Rows to try things on: all rows of some values of one field, for a sample of single rows has no groups left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.sql.order.flat import Flat


def cluster_sample(flat: Flat, num_rows: int) -> NDArray[np.int64]:
    """About ``num_rows`` rows, or all if there are no more: the clusters of the field whose values spare most.

    No value may fill more than a quarter of the sample; without such a field, evenly spread rows.
    """
    if flat.num_rows <= num_rows:
        return np.arange(flat.num_rows)
    best, best_spared = None, 0.0
    for f, column in enumerate(flat.columns):
        sizes = np.bincount(flat.codes[:, column])
        spared = float((flat.weights[flat.offsets[f] :][: len(sizes)] * np.maximum(sizes - 1, 0)).sum())
        if spared > best_spared and sizes.max() <= num_rows // 4:
            best, best_spared = (column, sizes), spared
    if best is None:
        return np.arange(num_rows) * flat.num_rows // num_rows
    column, sizes = best
    shuffled = np.random.default_rng(0).permutation(len(sizes))
    taken = np.zeros(len(sizes), np.bool_)
    taken[shuffled[np.cumsum(sizes[shuffled]) <= num_rows]] = True
    return np.flatnonzero(taken[flat.codes[:, column]])
