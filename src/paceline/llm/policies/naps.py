"""When a policy that decodes plainly looks again. Pure."""

from __future__ import annotations

from typing import final

_FIRST = 8  # steps
_LONGEST = 256
_APART = 8  # least steps between looks for the sake of new sequences
_NUM_BUCKETS = 32
_AWAY = 256  # steps after which a load counts as new


@final
class Naps:
    """Naps of 8, 16, 32, … steps, each load (a power of two of sequences) with its own: a load that flickers
    between two of them wakes nobody.

    >>> naps = Naps()
    >>> naps.rests(1)
    False
    >>> naps.sleep(64)
    >>> sum(naps.rests(1) for _ in range(20)), naps.length
    (8, 16)
    """

    __slots__ = ("_due", "_dues", "_lengths", "_seen", "apart", "bucket", "cooled", "length", "step")

    def __init__(self) -> None:
        self.step = 0
        self.bucket = 0
        self.length = _FIRST  # of the next nap
        self.apart = _APART  # steps between looks for the sake of new sequences
        self._due = 0
        self._dues = [0] * _NUM_BUCKETS
        self._lengths = [_FIRST] * _NUM_BUCKETS
        self._seen = [-_AWAY] * _NUM_BUCKETS  # when a load was left
        self.cooled = [0] * _NUM_BUCKETS  # until when it must stay plain

    def rests(self, num_decoding: int) -> bool:
        """Counts a step; whether it is slept through."""
        self.step = step = self.step + 1
        if num_decoding.bit_length() != self.bucket:
            self._enter(num_decoding.bit_length())
        return step < self._due

    def sleep(self, longest: int, apart: int = _APART) -> None:
        """A look found nothing: rest from the next step on, at most ``longest`` steps.

        New sequences may end a rest, but not sooner than ``apart`` steps from when they come.
        """
        self.apart = max(_APART, min(apart, _LONGEST))
        length = max(_FIRST, min(self.length, longest))
        self._due = self.step + 1 + length
        self.length = min(2 * length, _LONGEST)

    def cool(self, num_steps: int) -> None:
        """Plain decoding at this load for so many steps, whatever happens."""
        self._due = self.cooled[self.bucket] = self.step + 1 + num_steps
        self.length = _FIRST

    def wake(self) -> None:
        """There is a new sequence to look at."""
        if self._due > self.step + self.apart:
            self._due = max(self.step + self.apart, self.cooled[self.bucket])

    @property
    def cooling(self) -> int:
        """Steps for which this load must still stay plain."""
        return max(0, self.cooled[self.bucket] - self.step - 1)

    def stay(self) -> None:
        """There is something to do: the next nap is a short one again."""
        self.length = _FIRST

    @property
    def is_new(self) -> bool:
        """Whether this load was not met lately."""
        return self.step - self._seen[self.bucket] >= _AWAY

    def _enter(self, bucket: int) -> None:
        self._dues[self.bucket], self._lengths[self.bucket] = self._due, self.length
        self._seen[self.bucket] = self.step
        self.bucket = bucket
        self._due = self._dues[bucket]
        self.length = _FIRST if self.is_new else self._lengths[bucket]
