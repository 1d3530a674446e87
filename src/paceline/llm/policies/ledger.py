"""Holds speculation to account: time against plain decoding, tokens against what was promised. Pure."""

from __future__ import annotations

import math
from typing import final

_WINDOW = 256.0  # steps
_ALLOWED = 0.02  # of all time
_COOLDOWN = 64  # steps
_LONGEST_COOLDOWN = 4096
_TRUSTED = 32.0  # imagined tokens that came as promised
_KEPT = 0.98  # of all that is known, a step later
_TRUST_RANGE = (0.25, 1.25)
_OUTLIER = 4.0  # a step that takes longer than this many predictions tells of something else


@final
class Ledger:
    """Trips when speculation lost more than 2 % of the time of the last 256 steps or so (older ones fade).

    A trip means plain decoding for 64 steps, twice as many each time; after a whole window without one, 64 again.

    >>> ledger = Ledger()
    >>> any(ledger.enter(0.010, 0.010) for _ in range(1000))      # costs what plain decoding costs
    False
    >>> next(step for step in range(1000) if ledger.enter(0.012, 0.010)) < 64     # a fifth more
    True
    >>> ledger.cooldown
    64
    """

    __slots__ = ("_good", "balance_s", "cooldown", "num_trips", "time_s")

    def __init__(self) -> None:
        self.balance_s = 0.0  # lost time
        self.time_s = 0.0  # in all
        self.num_trips = 0
        self.cooldown = 0  # steps of the latest one
        self._good = 0.0  # steps since it ended

    def rest(self, num_steps: int, plain_s: float) -> None:
        """So many plain steps have passed, each of about ``plain_s``."""
        if not self.time_s:
            self.time_s = _WINDOW * plain_s
        keep = math.exp(-num_steps / _WINDOW)
        self.balance_s *= keep
        self.time_s = keep * self.time_s + (1.0 - keep) * _WINDOW * plain_s

    def enter(self, actual_s: float, plain_s: float) -> bool:
        """A step took ``actual_s``; plain decoding would have taken ``plain_s`` for the tokens it gave. Has it tripped?"""
        if not self.time_s:
            self.time_s = _WINDOW * plain_s
        actual_s = min(actual_s, _OUTLIER * plain_s)
        keep = 1.0 - 1.0 / _WINDOW
        self.balance_s = keep * self.balance_s + actual_s - plain_s
        self.time_s = keep * self.time_s + actual_s
        self._good += 1.0
        if self.balance_s <= _ALLOWED * self.time_s:
            return False
        self.num_trips += 1
        fresh = self._good > _WINDOW or not self.cooldown
        self.cooldown = _COOLDOWN if fresh else min(2 * self.cooldown, _LONGEST_COOLDOWN)
        self.balance_s = self._good = 0.0
        return True


@final
class Trust:
    """How many of the tokens that drafts promised came, of late: who picks the best of many estimates, picks too high.

    >>> trust = Trust()
    >>> for _ in range(200):
    ...     trust.observe(2.0 * trust.share, 1.0)      # promises 2, after trust is taken into account, gives 1
    >>> round(trust.share, 2)
    0.5
    """

    __slots__ = ("_came", "_promised", "share")

    def __init__(self) -> None:
        self._promised = self._came = _TRUSTED
        self.share = 1.0

    def observe(self, promised: float, came: float) -> None:
        """Drafts promised so many tokens, ``share`` taken into account, and gave so many."""
        self._promised = max(_TRUSTED, _KEPT * self._promised) + promised / self.share
        self._came = max(_TRUSTED, _KEPT * self._came) + came
        low, high = _TRUST_RANGE
        self.share = min(max(self._came / self._promised, low), high)
