"""Which nodes of all drafts the target verifies: those that together give most tokens per second. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from paceline.llm.draft.tree import DraftTree
from paceline.llm.policies.acceptance import CHAINS

_LEAST_SURVIVAL = 0.01  # less likely nodes pay on no device


class Selection(NamedTuple):
    """How many of the likeliest nodes to verify, what they bring and what the step takes with them."""

    num_nodes: int
    gain: float  # expected tokens beyond those of a plain step
    seconds: float  # drafting included


NOTHING = Selection(0, 0.0, 0.0)


def likeliest(chances: Sequence[float], most: int, least: float = 0.0) -> list[int]:
    """Places of the highest ``chances``, highest first, at most ``most``, none below ``least``. Among equals the first
    stands first, so that with each node of a tree those above it are in, too.

    >>> likeliest([0.9, 0.4, 0.9, 0.001], 10)
    [0, 2, 1]
    """
    least = max(least, _LEAST_SURVIVAL)
    places = [place for place, chance in enumerate(chances) if chance >= least]
    places.sort(key=chances.__getitem__, reverse=True)
    return places[:most]


def select(
    chances: Sequence[float],
    num_tokens: float,
    curve: Sequence[float],
    draft_s: float,
    extra_s: float = 0.0,
    trust: float = 1.0,
) -> Selection:
    """The prefix of ``chances`` (falling) with the best tokens per second: exact when cost depends on row counts only.

    ``curve[n]`` is the time with n more rows (0: unknown, never chosen), ``extra_s`` what any verification costs on
    top, ``trust`` the share of the promised tokens that came of late. All prefixes are tried, since costs may be staircases.

    >>> select([0.75, 0.5, 0.5, 0.5, 0.0], 1, [1.0, 1.25, 1.75, 1.75, 1.75, 2.25], draft_s=0.25)
    Selection(num_nodes=4, gain=2.25, seconds=2.0)
    """
    best, best_gain, best_s = 0, 0.0, draft_s + curve[0]
    most = num_tokens / best_s
    gain, spent_s = 0.0, draft_s + extra_s
    for size, chance in enumerate(chances, 1):
        gain += trust * chance
        seconds = curve[size]
        if seconds > 0.0:
            seconds += spent_s
            rate = (num_tokens + gain) / seconds
            if rate > most:
                best, best_gain, best_s, most = size, gain, seconds, rate
    return Selection(best, best_gain, best_s)


def cut(tree: DraftTree, nodes: Sequence[int]) -> DraftTree:
    """The part of ``tree`` with ``nodes``."""
    size = len(nodes)
    if size == len(tree.tokens):
        return tree
    if tree.parents[:size] == CHAINS[size] and max(nodes) == size - 1:
        return DraftTree(tree.tokens[:size], tree.parents[:size], tree.survival[:size])
    return tree.keep(nodes)
