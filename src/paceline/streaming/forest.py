"""Regression trees as flat arrays: many rows walk down all trees at once. Pure numpy.

A forest averages its trees, a boosted sum adds them; either way a tree's leaf holds one number per output. Files are ``npz`` without
pickle, with a header in JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ModelError
from paceline.streaming.frame import Floats

VERSION: Final = 1
_ARRAYS: Final = ("feature", "threshold", "left", "right", "values", "roots", "base")


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """T trees of M nodes in all. A leaf points to itself; its threshold is infinite, so that walking on leaves it in place."""

    feature: NDArray[np.int32]  # [M]
    threshold: NDArray[np.float64]  # [M]
    left: NDArray[np.int32]  # [M], taken where the feature is at most the threshold
    right: NDArray[np.int32]  # [M]
    values: NDArray[np.float64]  # [M, outputs]
    roots: NDArray[np.int32]  # [T]
    base: NDArray[np.float64]  # [outputs], added to the sum of the trees
    depth: int
    num_features: int

    def __call__(self, rows: Floats) -> Floats:
        """[R, features] -> [R, outputs]"""
        return np.asarray(self.base + self.values[self.leaves(rows)].sum(1))

    def leaves(self, rows: Floats) -> NDArray[np.int32]:
        """The node where each row ends in each tree.  # [R, features] -> [R, T]"""
        assert rows.ndim == 2
        assert rows.shape[1] == self.num_features, (rows.shape, self.num_features)
        at = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        flat = rows.astype(np.float32).ravel()  # thresholds were found between numbers of this precision
        start = (np.arange(len(rows)) * self.num_features)[:, None]
        for _ in range(self.depth):
            lower = flat[start + self.feature[at]] <= self.threshold[at]
            at = np.where(lower, self.left[at], self.right[at])
        return at

    def save(self, path: Path, header: Mapping[str, Any]) -> None:
        """Writes the trees with whatever else must be known to use them."""
        write_arrays(
            path,
            {name: getattr(self, name) for name in _ARRAYS},
            {**header, "depth": self.depth, "num_features": self.num_features},
        )

    @classmethod
    def load(cls, path: Path) -> tuple[Forest, dict[str, Any]]:
        """The trees and the header they were saved with; ModelError if the file does not hold sound trees."""
        arrays, header = read_arrays(path)
        missing = [name for name in _ARRAYS if name not in arrays]
        if missing or arrays.keys() - set(_ARRAYS) or not {"depth", "num_features"} <= header.keys():
            raise ModelError(f"{path}: no forest of this format (missing: {', '.join(missing) or 'header'})")
        forest = cls(**arrays, depth=header["depth"], num_features=header["num_features"])
        problem = forest.problem()
        if problem:
            raise ModelError(f"{path}: unsound trees: {problem}")
        return forest, header

    def problem(self) -> str | None:
        """Why these arrays are no trees, or None."""
        num_nodes = len(self.feature)
        per_node = (self.threshold, self.left, self.right, self.values)
        if any(len(each) != num_nodes for each in per_node) or self.values.shape[1:] != self.base.shape:
            return "arrays of different length"
        for name in ("left", "right", "roots"):
            places = getattr(self, name)
            if places.dtype.kind != "i" or (places < 0).any() or (places >= num_nodes).any():
                return f"{name} points outside the {num_nodes} nodes"
        if self.feature.dtype.kind != "i" or (self.feature < 0).any() or (self.feature >= self.num_features).any():
            return f"a node asks for a feature beyond the {self.num_features}"
        if not (np.isfinite(self.values).all() and np.isfinite(self.base).all()) or np.isnan(self.threshold).any():
            return "values that are no numbers"
        return None if 0 <= self.depth <= 64 else f"depth {self.depth} is not in 0..64"


def joined(parts: list[Forest]) -> Forest:
    """Forests of one output each as one with many outputs: a row walks down all of them."""
    total, result = 0, []
    for place, part in enumerate(parts):
        assert part.values.shape[1] == 1
        values = np.zeros((len(part.feature), len(parts)))
        values[:, place] = part.values[:, 0]
        result.append((part.feature, part.threshold, part.left + total, part.right + total, values, part.roots + total))
        total += len(part.feature)
    feature, threshold, left, right, values, roots = (np.concatenate(arrays) for arrays in zip(*result, strict=True))
    base = np.concatenate([part.base for part in parts])
    depth = max(part.depth for part in parts)
    return Forest(
        feature, threshold, left.astype(np.int32), right.astype(np.int32), values, roots.astype(np.int32), base,
        depth, parts[0].num_features,
    )  # fmt: skip


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> None:
    """One ``npz`` of arrays and a JSON header."""
    text = json.dumps({**header, "version": VERSION}, sort_keys=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, header=np.frombuffer(text.encode(), np.uint8), **arrays)


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What `write_arrays` wrote; ModelError where it is something else. Pickles are never read."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop("header").tobytes())
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except Exception as error:  # whatever zipfile, zlib, numpy and json find wrong
        raise ModelError(f"{path}: not a file of this format ({error})") from None
    if not isinstance(header, dict) or header.get("version") != VERSION:
        raise ModelError(f"{path}: not a file of version {VERSION}")
    return arrays, header
