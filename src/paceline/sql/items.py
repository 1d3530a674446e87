"""A table as the order planner sees it: which cells are equal, and what each costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Items:
    """Rows of the fields that go into a prompt, as dictionary codes.

    ``codes[r, f]`` numbers the value of field ``f`` in row ``r``, from 0, the same number for the same value of the
    same field. ``weights[f][code]`` is what that cell adds to a prompt, in tokens, its key included. Fields of one
    group of ``unordered`` are interchangeable: they share one numbering and equal weights, and a value counts as the
    same whichever of them holds it. Fields in ``pinned`` stand last in every row, in this order, and take no part.
    """

    codes: NDArray[np.int32]  # [N, M]
    weights: tuple[NDArray[np.float64], ...]  # M times [D of the field]
    unordered: tuple[tuple[int, ...], ...] = ()
    pinned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        num_rows, num_fields = self.codes.shape
        assert self.codes.dtype == np.int32
        assert len(self.weights) == num_fields
        assert all(len(w) > self.codes[:, f].max(initial=-1) for f, w in enumerate(self.weights)) or num_rows == 0

    @property
    def num_rows(self) -> int:
        return int(self.codes.shape[0])

    @property
    def num_fields(self) -> int:
        return int(self.codes.shape[1])

    @property
    def total(self) -> float:
        """Weight of all cells."""
        return float(sum(w[self.codes[:, f]].sum() for f, w in enumerate(self.weights)))


@dataclass(frozen=True, slots=True)
class Order:
    """Which row comes when, and with its fields in which order.

    Row ``rows[i]`` is sent as number ``i`` with the fields ``permutations[permutation_of[i]]``. Rows that agree in a
    prefix stand side by side: sent in this order, each shares its longest known prefix with the one before.
    """

    rows: NDArray[np.int64]  # [N]
    permutations: NDArray[np.int16]  # [P, M]
    permutation_of: NDArray[np.int32]  # [N]
    hits: float  # weight found in the row before, by the model of a cache that was asked for
    total: float
    bound: float  # no order has more hits
    planner: str  # which of the candidates it is
    numbers: dict[str, Any] = field(default_factory=dict)  # seconds and hits of every candidate, for EXPLAIN

    @property
    def hit_share(self) -> float:
        return self.hits / self.total if self.total else 0.0

    def fields_of(self, place: int) -> NDArray[np.int16]:
        """The order of the fields of the row sent as number ``place``."""
        return self.permutations[self.permutation_of[place]]  # type: ignore[no-any-return]
