"""Stop strings in text that comes in pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import final


@final
class StopFinder:
    """Passes text through until a stop string ends in it, however the text is cut into pieces.

    The stop string that ends first counts; of several that end at the same character, the
    longest. Text that may still turn out to be a stop string's beginning is held back. Takes time
    linear in the text (Aho and Corasick 1975).

    >>> finder = StopFinder(["END", "\\n\\n"])
    >>> finder.feed("a\\nE"), finder.feed("N"), finder.feed("D b"), finder.found
    ('a\\n', '', '', 'END')
    """

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        self.found: str | None = None
        self._include = include
        self._firsts = {stop[0] for stop in stops}
        self._state = 0
        self._held = ""  # the text that led to the state; its length is the state's depth
        # One node per distinct prefix of a stop string; node 0 is the empty prefix.
        self._children: list[dict[str, int]] = [{}]
        self._depths = [0]
        self._fallbacks = [0]  # node of the longest proper suffix that is a prefix too
        self._ends: list[str | None] = [None]  # the longest stop string that ends here
        for stop in stops:
            self._insert(stop)
        self._link()

    def feed(self, text: str) -> str:
        """What of the text so far is certain to stand before a stop string. Nothing once one is found."""
        if self.found is not None:
            return ""
        if self._state == 0 and self._firsts.isdisjoint(text):
            return text
        for index, character in enumerate(text):
            self._state = self._next(self._state, character)
            if (stop := self._ends[self._state]) is not None:
                return self._stop_at(stop, self._held + text[: index + 1])
        whole = self._held + text
        safe = len(whole) - self._depths[self._state]
        self._held = whole[safe:]
        return whole[:safe]

    def rest(self) -> str:
        """Hands out what was held back: no more text comes."""
        rest, self._held, self._state = self._held, "", 0
        return rest

    def _stop_at(self, stop: str, whole: str) -> str:
        self.found, self._held = stop, ""
        return whole if self._include else whole[: -len(stop)]

    def _next(self, node: int, character: str) -> int:
        while node and character not in self._children[node]:
            node = self._fallbacks[node]
        return self._children[node].get(character, 0)

    def _insert(self, stop: str) -> None:
        node = 0
        for character in stop:
            child = self._children[node].setdefault(character, len(self._children))
            if child == len(self._children):
                self._children.append({})
                self._depths.append(self._depths[node] + 1)
                self._fallbacks.append(0)
                self._ends.append(None)
            node = child
        self._ends[node] = stop

    def _link(self) -> None:
        """Sets the fallbacks, shallow nodes first."""
        waiting = deque(self._children[0].values())
        while waiting:
            node = waiting.popleft()
            for character, child in self._children[node].items():
                fallback = self._next(self._fallbacks[node], character)
                self._fallbacks[child] = fallback
                self._ends[child] = self._ends[child] or self._ends[fallback]
                waiting.append(child)
