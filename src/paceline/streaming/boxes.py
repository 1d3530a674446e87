"""Rectangles: how much they overlap. Boxes are left, top, right, bottom."""

from __future__ import annotations

from typing import Final

import numpy as np

from paceline.streaming.frame import Floats

EPSILON: Final = float(np.finfo(float).eps)


def intersection_over_union(boxes: Floats, others: Floats) -> Floats:
    """Of boxes that broadcast; 0 for those without area or with numbers that are none.  # [..., 4], [..., 4] -> [...]

    >>> intersection_over_union(np.array([0.0, 0, 2, 2]), np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]])).round(3)
    array([0.333, 0.   ])
    """
    with np.errstate(all="ignore"):  # boxes of broken systems hold inf and nan
        shared = _shared(boxes, others)
        return _share(shared, area(boxes) + area(others) - shared)


def covered(boxes: Floats, others: Floats) -> Floats:
    """The share of ``boxes`` that lies in ``others``.  # [..., 4], [..., 4] -> [...]"""
    with np.errstate(all="ignore"):
        return _share(_shared(boxes, others), area(boxes))


def area(boxes: Floats) -> Floats:
    """# [..., 4] -> [...]"""
    return _product(boxes[..., 2:] - boxes[..., :2])


def _shared(boxes: Floats, others: Floats) -> Floats:
    return _product(np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2]))


def _product(extent: Floats) -> Floats:
    """# [..., 2] -> [...]"""
    clipped = np.maximum(extent, 0)
    product: Floats = clipped[..., 0] * clipped[..., 1]
    return product


def _share(part: Floats, whole: Floats) -> Floats:
    share = part / np.where(whole > EPSILON, whole, 1.0)
    return np.where((part > 0) & np.isfinite(share), share, 0.0)
