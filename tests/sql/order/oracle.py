"""Plain and slow: a naive trie, and the best order of a few rows by trying every partition."""

from __future__ import annotations

from functools import cache

import numpy as np

from paceline.sql.items import Items


def random_items(rng: np.random.Generator, num_rows: int, num_fields: int, num_values: int) -> Items:
    codes = rng.integers(0, num_values, (num_rows, num_fields)).astype(np.int32)
    return Items(codes, tuple(rng.integers(1, 30, num_values).astype(float) for _ in range(num_fields)))


def trie_hits(items: Items, rows: np.ndarray, permutations: np.ndarray, permutation_of: np.ndarray) -> float:
    """Hits with a cache that forgets nothing, cell by cell."""
    seen: set[tuple[object, ...]] = set()
    shared = {f: g for g, group in enumerate(items.unordered) for f in group}
    hits = 0.0
    for i, row in enumerate(rows.tolist()):
        path: tuple[object, ...] = ()
        for f in permutations[permutation_of[i]].tolist():
            code = int(items.codes[row, f])
            path = (*path, ("group", shared[f], code) if f in shared else (f, code))
            if path in seen:
                hits += items.weights[f][code]
            seen.add(path)
    return hits


def most_hits(items: Items) -> float:
    """The most that any order finds: rows are split into groups that share an item, and again within each group."""
    codes, num_fields = items.codes, items.num_fields
    holders = [
        [sum(1 << s for s in range(items.num_rows) if codes[s, f] == codes[r, f]) for f in range(num_fields)]
        for r in range(items.num_rows)
    ]

    @cache
    def best(rows: int, used: int) -> float:
        if rows & (rows - 1) == 0:
            return 0.0
        first = (rows & -rows).bit_length() - 1
        rest = rows & (rows - 1)
        most = best(rest, used)  # the first row shares nothing more
        for f in range(num_fields):
            if used >> f & 1:
                continue
            weight = float(items.weights[f][codes[first, f]])
            others = subset = rest & holders[first][f]
            while subset:  # every group of the first row with some that have its item
                gain = weight * subset.bit_count() + best(subset | 1 << first, used | 1 << f)
                most = max(most, gain + best(rest & ~subset, used))
                subset = (subset - 1) & others
        return most

    return best((1 << items.num_rows) - 1, 0)
