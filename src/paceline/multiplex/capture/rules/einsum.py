"""``einsum`` of two tensors as a matrix product, or as a linear layer where one of them is a weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from paceline.multiplex.capture.builder import Arguments, Builder, Cell
from paceline.multiplex.capture.rules.general import Rule
from paceline.multiplex.capture.rules.layers import linear, matmul
from paceline.multiplex.capture.rules.shape import permuted, reshaped
from paceline.multiplex.capture.traced import NotCapturable


def einsum(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    left, arrow, out = arguments["equation"].replace(" ", "").partition("->")
    operands, tensors = left.split(","), list(arguments["tensors"])
    letters = [*operands, out]
    if not arrow or len(operands) != 2 or "." in left or any(len(set(each)) < len(each) for each in letters):
        raise NotCapturable(f"{target} of {arguments['equation']!r} is not known: two tensors, an arrow, no ellipsis")
    if tensors[0].is_weight:
        operands, tensors = operands[::-1], tensors[::-1]
    (first, second), (one, two) = operands, tensors
    batch = [letter for letter in out if letter in first and letter in second]
    summed = [letter for letter in first if letter in second and letter not in out]
    own = [letter for letter in first if letter not in second]
    others = [letter for letter in second if letter not in first]
    if not set(own + others) <= set(out):
        raise NotCapturable(f"{target} of {arguments['equation']!r} is not known: it sums over one tensor alone")
    sizes = dict(zip(first, one.sizes(), strict=True)) | dict(zip(second, two.sizes(), strict=True))
    (one,) = permuted(builder, one, [first.index(letter) for letter in batch + own + summed])
    if two.is_weight and not batch:
        (two,) = permuted(builder, two, [second.index(letter) for letter in others + summed])
        (one,) = reshaped(builder, one, [*(sizes[letter] for letter in own), _joined(sizes, summed)])
        (two,) = reshaped(builder, two, [_joined(sizes, others), _joined(sizes, summed)])
        (result,) = linear(builder, target, {"input": one, "weight": two})
    else:
        (two,) = permuted(builder, two, [second.index(letter) for letter in batch + summed + others])
        kept = [sizes[letter] for letter in batch]
        (one,) = reshaped(builder, one, [*kept, _joined(sizes, own), _joined(sizes, summed)])
        (two,) = reshaped(builder, two, [*kept, _joined(sizes, summed), _joined(sizes, others)])
        (result,) = matmul(builder, target, {"self": one, "other": two})
    order = batch + own + others
    (result,) = reshaped(builder, result, [sizes[letter] for letter in order])
    return permuted(builder, result, [order.index(letter) for letter in out])


def _joined(sizes: dict[str, Any], letters: Sequence[str]) -> int:
    """The size of several dimensions as one."""
    if not all(isinstance(sizes[letter], int) for letter in letters):
        raise NotCapturable("an einsum joins its rows with another dimension")
    return math.prod(sizes[letter] for letter in letters)


RULES: Final[dict[str, Rule]] = {"aten.einsum.default": einsum}
