"""When a policy that decodes plainly looks again. Pure."""

from __future__ import annotations

from typing import final

_FIRST = 8  # steps
_LONGEST = 1024
_APART = 8  # least steps between glances at new sequences
_FARTHEST = 512
_MOST_IDLE = 8  # times as far apart as their share allows, after glances that found nothing
_SOON = 4  # steps of a sequence before it is glanced at: a match needs some text
_NEVER = 1 << 62
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

    __slots__ = (
        "_due",
        "_dues",
        "_glance",
        "_glanced",
        "_idle",
        "_lengths",
        "_seen",
        "apart",
        "bucket",
        "cooled",
        "length",
        "step",
    )

    def __init__(self) -> None:
        self.step = 0
        self.bucket = 0
        self.length = _FIRST  # of the next nap
        self.apart = _APART  # least steps between glances at new sequences
        self._due = 0
        self._glance = _NEVER  # when one is due
        self._glanced = 0  # when it was done last
        self._idle = 1  # doubled by each that finds nothing
        self._dues = [0] * _NUM_BUCKETS
        self._lengths = [_FIRST] * _NUM_BUCKETS
        self._seen = [-_AWAY] * _NUM_BUCKETS  # when a load was left
        self.cooled = [0] * _NUM_BUCKETS  # until when it must stay plain

    def rests(self, num_decoding: int) -> bool:
        """Counts a step; whether it is slept through."""
        self.step = step = self.step + 1
        if num_decoding.bit_length() != self.bucket:
            self._enter(num_decoding.bit_length())
        return step < self._due and (step < self._glance or step < self.cooled[self.bucket])

    @property
    def glancing(self) -> bool:
        """Whether this step is awake for the sake of new sequences alone: the nap goes on behind it."""
        return self.step < self._due

    def glanced(self, apart: int) -> None:
        """It was, and found nothing; the next glance comes not sooner than ``apart`` steps from now, or later if none
        has found anything for long.
        """
        self.apart = max(_APART, min(apart * self._idle, _FARTHEST))
        self._idle = min(2 * self._idle, _MOST_IDLE)
        self._glanced, self._glance = self.step, _NEVER

    def sleep(self, longest: int) -> None:
        """A look found nothing: rest from the next step on, at most ``longest`` steps."""
        length = max(_FIRST, min(self.length, longest))
        self._due = self.step + 1 + length
        self.length = min(2 * length, _LONGEST)

    def cool(self, num_steps: int) -> None:
        """Plain decoding at this load for so many steps, whatever happens."""
        self._due = self.cooled[self.bucket] = self.step + 1 + num_steps
        self.length = _FIRST

    def wake(self) -> None:
        """There is a new sequence to glance at."""
        self._glance = min(self._glance, max(self.step + _SOON, self._glanced + self.apart))

    @property
    def cooling(self) -> int:
        """Steps for which this load must still stay plain."""
        return max(0, self.cooled[self.bucket] - self.step - 1)

    def stay(self) -> None:
        """There is something to do: no nap now, and the next is a short one again."""
        self.length = _FIRST
        self._idle = 1
        self._due = min(self._due, self.step + 1)
        self._glance = _NEVER

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
