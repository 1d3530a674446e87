"""Items numbered across fields, with the fields that need no search set aside."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.sql.items import Items
from paceline.sql.order.kernels import compiled
from paceline.sql.order.options import Weighting


@dataclass(frozen=True, slots=True)
class Flat:
    """The searched part of a table: value ``code`` of field ``f`` is item ``offsets[f] + code``.

    ``bundles[f]`` are the fields of the table that move as searched field ``f``: they determine each other.
    ``front`` is the same in every row, ``back`` never twice the same (or pinned): nothing to search there.
    """

    codes: NDArray[np.int32]  # [N, M of the table]
    columns: NDArray[np.int64]  # [F]; the field of the table that stands for the bundle
    offsets: NDArray[np.int64]  # [F]
    weights: NDArray[np.float64]  # [items]
    loose: NDArray[np.bool_]  # [F]; interchangeable with others: its values have no column of their own
    bundles: tuple[tuple[int, ...], ...]
    front: tuple[int, ...]
    back: tuple[int, ...]

    @property
    def num_rows(self) -> int:
        return int(self.codes.shape[0])

    @property
    def num_fields(self) -> int:
        return len(self.columns)

    def widen(self, permutations: NDArray[np.int16]) -> NDArray[np.int16]:
        """Orders of searched fields -> orders of all fields.  # [P, F] -> [P, M]"""
        lengths = np.array([len(bundle) for bundle in self.bundles], np.int64)
        num_fields = len(self.front) + int(lengths.sum()) + len(self.back)
        wide = np.empty((len(permutations), num_fields), np.int16)
        wide[:, : len(self.front)] = self.front
        wide[:, num_fields - len(self.back) :] = self.back
        taken = lengths[permutations]  # [P, F]
        starts = len(self.front) + np.cumsum(taken, axis=1) - taken
        for k in range(lengths.max(initial=0)):
            member = np.array([bundle[min(k, len(bundle) - 1)] for bundle in self.bundles], np.int16)
            row, place = np.nonzero(taken > k)
            wide[row, starts[row, place] + k] = member[permutations[row, place]]
        return wide


def flatten(items: Items, weighting: Weighting = "linear") -> Flat:
    """Sets constant, unique and dependent fields aside and numbers the items of the others."""
    weights = [w * w if weighting == "squared" else w for w in items.weights]
    loose = {f for group in items.unordered for f in group}
    searched = [f for f in range(items.num_fields) if f not in items.pinned]
    counts = {f: np.bincount(items.codes[:, f]) for f in searched if f not in loose}
    front = [f for f in counts if counts[f].max(initial=0) == items.num_rows]
    back = [f for f in counts if f not in front and counts[f].max(initial=0) <= 1]
    rest = [f for f in searched if f not in front and f not in back]
    bundles = _bundles(items.codes, [f for f in rest if f not in loose], counts)
    bundles = sorted([*bundles, *((f,) for f in rest if f in loose)])
    totals = [_bundle_weights(items.codes, bundle, weights) for bundle in bundles]
    starts = dict(zip([b[0] for b in bundles], np.cumsum([0, *map(len, totals)])[:-1].tolist(), strict=True))
    for group in items.unordered:  # one numbering: all start where the first of them starts
        starts.update({f: min(starts[g] for g in group if g in starts) for f in group if f in starts})
    return Flat(
        codes=items.codes,
        columns=np.array([b[0] for b in bundles], np.int64),
        offsets=np.array([starts[b[0]] for b in bundles], np.int64),
        weights=np.concatenate([np.zeros(0), *totals]),
        loose=np.array([b[0] in loose for b in bundles], np.bool_),
        bundles=tuple(bundles),
        front=tuple(front),
        back=(*back, *items.pinned),
    )


def _bundles(
    codes: NDArray[np.int32], fields: list[int], counts: dict[int, NDArray[np.int64]]
) -> list[tuple[int, ...]]:
    """Groups of fields whose values determine each other: they split the rows alike."""
    alike: dict[bytes, list[list[int]]] = defaultdict(list)
    for f in fields:
        sizes = np.bincount(counts[f][counts[f] > 0])  # how many values occur once, twice, …
        for bundle in alike[sizes.tobytes()]:
            if _determines(codes, bundle[0], f, len(counts[bundle[0]])):
                bundle.append(f)
                break
        else:
            alike[sizes.tobytes()].append([f])
    return sorted(tuple(bundle) for bundles in alike.values() for bundle in bundles)


def _bundle_weights(
    codes: NDArray[np.int32], bundle: tuple[int, ...], weights: list[NDArray[np.float64]]
) -> NDArray[np.float64]:
    total = weights[bundle[0]].copy()
    for f in bundle[1:]:
        partner = np.zeros(len(total), np.int32)
        partner[codes[:, bundle[0]]] = codes[:, f]
        total += weights[f][partner]
    return total


@compiled
def _determines(codes: NDArray[np.int32], first: int, second: int, num_values: int) -> bool:
    partner = np.full(num_values, -1, np.int32)
    for r in range(len(codes)):
        value = codes[r, first]
        if partner[value] < 0:
            partner[value] = codes[r, second]
        elif partner[value] != codes[r, second]:
            return False
    return True
