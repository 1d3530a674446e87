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
    savings: NDArray[np.float64]  # [F]; of a split of all rows by the field
    above: NDArray[np.int32]  # [F, F]; 0, or the more the fewer values the second has, if the first determines it
    bundles: tuple[tuple[int, ...], ...]
    front: tuple[int, ...]
    back: tuple[int, ...]

    @property
    def num_rows(self) -> int:
        return int(self.codes.shape[0])

    @property
    def num_fields(self) -> int:
        return len(self.columns)

    @property
    def led(self) -> int:
        """The field that saves most of those that determine others and are determined by none; -1 if there is none."""
        heads = self.above.any(axis=1) & ~self.above.any(axis=0)
        return int(np.where(heads, self.savings, -1.0).argmax()) if heads.any() else -1

    def widen(self, permutations: NDArray[np.int16]) -> NDArray[np.int16]:
        """Orders of searched fields -> orders of all fields.  # [P, F] -> [P, M]"""
        members = np.array([f for bundle in self.bundles for f in bundle], np.int16)
        lengths = np.array([len(bundle) for bundle in self.bundles], np.int64)
        taken = lengths[permutations].ravel()
        first = (np.cumsum(lengths) - lengths)[permutations].ravel()  # of the members of each bundle
        place = np.arange(taken.sum()) + np.repeat(first - (np.cumsum(taken) - taken), taken)
        front, back = (
            np.tile(np.array(fields, np.int16), (len(permutations), 1)) for fields in (self.front, self.back)
        )
        return np.hstack([front, members[place].reshape(len(permutations), len(members)), back])


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
    fields = [b[0] for b in bundles]
    spared = [np.maximum(counts[f] - 1, 0) if f in counts else np.zeros(0) for f in fields]
    return Flat(
        codes=items.codes,
        columns=np.array(fields, np.int64),
        offsets=np.array([starts[f] for f in fields], np.int64),
        weights=np.concatenate([np.zeros(0), *totals]),
        loose=np.array([f in loose for f in fields], np.bool_),
        savings=np.array([total[: len(rows)] @ rows for total, rows in zip(totals, spared, strict=True)], np.float64),
        above=_above(items.codes, fields, counts),
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
            if _determines(codes, bundle[0], f, np.empty(len(counts[bundle[0]]), np.int32)):
                bundle.append(f)
                break
        else:
            alike[sizes.tobytes()].append([f])
    return sorted(tuple(bundle) for bundles in alike.values() for bundle in bundles)


def _above(codes: NDArray[np.int32], fields: list[int], counts: dict[int, NDArray[np.int64]]) -> NDArray[np.int32]:
    """Which fields determine which; not those whose values hardly repeat, which determine others by chance."""
    num_values = np.array([np.count_nonzero(counts[f]) if f in counts else 0 for f in fields], np.int64)
    num_values[num_values > len(codes) / 2] = 0
    above = np.zeros((len(fields), len(fields)), np.int32)
    partner = np.empty(max((len(counts[f]) for f in fields if f in counts), default=0), np.int32)
    _compare(codes, np.array(fields, np.int64), num_values, above, partner)
    return above


@compiled
def _compare(
    codes: NDArray[np.int32],
    fields: NDArray[np.int64],
    num_values: NDArray[np.int64],
    above: NDArray[np.int32],
    partner: NDArray[np.int32],
) -> None:
    for i in range(len(fields)):
        for j in range(len(fields)):
            if 0 < num_values[j] < num_values[i] and _determines(codes, fields[i], fields[j], partner):
                above[i, j] = len(codes) - num_values[j]


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
def _determines(codes: NDArray[np.int32], first: int, second: int, partner: NDArray[np.int32]) -> bool:
    for value in range(len(partner)):
        partner[value] = -1
    for r in range(len(codes)):
        value = codes[r, first]
        if partner[value] < 0:
            partner[value] = codes[r, second]
        elif partner[value] != codes[r, second]:
            return False
    return True
