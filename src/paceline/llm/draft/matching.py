"""What proposers without a model share: the longest match in a text, and how much a match is worth. Pure.

A text is a string of one character per token (``chr(token)``), so that a search runs at the speed of ``str.rfind``: about
a nanosecond a token, without an index. The step it serves reads the keys and values of as many tokens, which takes
tens of times longer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from paceline.llm.draft.tree import MAX_NODES, NO_DRAFT, DraftTree

MAX_VOCAB: Final = sys.maxunicode + 1  # token ids that a character can stand for
MAX_MATCH: Final = 32  # tokens of a match that count
MAX_BRANCH: Final = 4  # tokens of a second branch

# The share of tokens that follow a match of M tokens is close to M / (M + c). Measured on Python code, on edits of code
# and on prose, in the tokens of the packaged model; later tokens obey the same law, M counting those before them too.
_ALONE: Final = 2.5  # no older occurrence: .46 at M = 2, .76 at 8, .95 at 32
_AGREED: Final = 0.8  # the occurrence before was followed by the same token: .68 at 2, .91 at 8
_DISPUTED: Final = 20.0  # by another one: .05 to .17 at 2, .2 to .3 at 8


def _survival(c: float) -> tuple[tuple[float, ...], ...]:
    """Survival of chains of ``MAX_NODES`` tokens after matches of 0..``MAX_MATCH`` tokens."""
    rows = []
    for length in range(MAX_MATCH + 1):
        chance, row = 1.0, []
        for matched in range(length, length + MAX_NODES):
            chance *= matched / (matched + c)
            row.append(chance)
        rows.append(tuple(row))
    return tuple(rows)


_SURVIVAL_ALONE: Final = _survival(_ALONE)
_SURVIVAL_AGREED: Final = _survival(_AGREED)
_CHAIN: Final = tuple(range(-1, MAX_NODES - 1))


def longest_match(text: str, shortest: int) -> tuple[int, int]:
    """Where the longest ending of ``text`` that also occurs earlier ends there, and its length; (0, 0) if none does.

    Endings of ``shortest`` to ``MAX_MATCH`` characters count; of several occurrences the latest. One pass from right to
    left: a longer match that ends further right would have been found as a shorter one.

    >>> longest_match("one two, one three, one t", 2)
    (14, 7)
    """
    num = len(text)
    at = best = 0
    length, stop = shortest, num - 1
    while length <= MAX_MATCH and length <= stop:
        start = text.rfind(text[num - length :], 0, stop)
        if start < 0:
            break
        at = start + length
        while start and length < MAX_MATCH and text[start - 1] == text[num - length - 1]:
            start -= 1
            length += 1
        best = length
        length += 1
        stop = at - 1
    return at, best


def match_before(text: str, at: int, length: int) -> int:
    """Where the ``length`` characters that end at ``at`` occurred before, the latest such end; 0 if nowhere.

    >>> match_before("one two, one three, one t", 14, 5)
    5
    """
    start = text.rfind(text[at - length : at], 0, at - 1)
    return start + length if start >= 0 else 0


def sprout(guess: Sequence[int], second: Sequence[int], length: int) -> DraftTree:
    """The tree after a match of ``length`` tokens: ``guess`` followed the latest occurrence, ``second`` the one before.

    Both are sequences of one type; ``second`` is empty if there is no such occurrence. Tokens on which both agree are
    likelier; where they part, a short second branch begins; where one ends, the other goes on.

    >>> sprout([5, 6], [5, 6], 8).survival > sprout([5, 6], [], 8).survival
    True
    >>> sprout([5, 6, 7], [5, 8], 8).tokens, sprout([5, 6, 7], [5, 8], 8).parents
    ((5, 6, 7, 8), (-1, 0, 1, 0))
    """
    tokens = tuple(map(int, guess[:MAX_NODES]))
    num = len(tokens)
    if not num:
        return NO_DRAFT
    if length > MAX_MATCH:
        length = MAX_MATCH
    if not second:
        return DraftTree(tokens, _CHAIN[:num], _SURVIVAL_ALONE[length][:num])
    if second == guess:
        return DraftTree(tokens, _CHAIN[:num], _SURVIVAL_AGREED[length][:num])
    return _fork(tokens, tuple(map(int, second[:MAX_NODES])), length)


def _fork(guess: tuple[int, ...], second: tuple[int, ...], length: int) -> DraftTree:
    """A chain with which the older occurrence agrees only in part, and the branch where it parts from it."""
    agreed = 0
    for token, other in zip(guess, second, strict=False):
        if token != other:
            break
        agreed += 1
    survival = list(_SURVIVAL_AGREED[length][:agreed])
    above = survival[-1] if agreed else 1.0
    matched, num = length + agreed, len(guess)
    if agreed == min(num, len(second)):  # they never part
        longer = max(guess, second, key=len)
        survival += _continued(above, matched, len(longer) - agreed)
        return DraftTree(longer, _CHAIN[: len(longer)], tuple(survival))
    share = matched / (matched + _DISPUTED)
    survival.append(above * share)
    survival += _continued(above * share, matched + 1, num - agreed - 1)
    branch = second[agreed : agreed + min(MAX_BRANCH, MAX_NODES - num)]
    if not branch:
        return DraftTree(guess, _CHAIN[:num], tuple(survival))
    older = above * (1.0 - share) * share
    survival.append(older)
    survival += _continued(older, matched + 1, len(branch) - 1)
    parents = (*_CHAIN[:num], agreed - 1, *range(num, num + len(branch) - 1))
    return DraftTree(guess + branch, parents, tuple(survival))


def _continued(above: float, matched: int, num: int) -> list[float]:
    """Survival of ``num`` tokens under a node of survival ``above``, where one occurrence is left."""
    return [above * chance for chance in _SURVIVAL_ALONE[min(matched, MAX_MATCH)][:num]]
