"""What a source of pictures is, and how a recording is replayed at the pace at which it was taken."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, Protocol, final

from paceline.clock import MICROSECONDS, Clock, WallClock, to_seconds
from paceline.streaming.frame import Frame, Size

LATE_US: Final = MICROSECONDS  # a replay further behind than this is let slip
NAP_S: Final = 0.1  # so that a closed replay ends soon


class Source(Protocol):
    """Pictures in the order of their capture, all of one size. Iterated once, by one thread; ``close`` may come from another.

    ``capture_us`` of a frame counts from ``epoch_us`` on the machine's clock (`WallClock`), which is known once the first frame
    is there; it is None where a recording is read as fast as it can be. No frame is lost unseen: ``drops`` counts the lost
    ones by reason, ``repairs`` what was put right without losing any. ``ended`` tells why no more frames come; empty while some may.
    """

    drops: Counter[str]
    repairs: Counter[str]

    @property
    def size(self) -> Size: ...

    @property
    def epoch_us(self) -> int | None: ...

    @property
    def ended(self) -> str: ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


def reason_of(error: Exception) -> str:
    """What went wrong, without the address, which may hold a password."""
    return getattr(error, "strerror", None) or str(error)


class Recording(ABC):
    """A source with an end, read as fast as its consumer asks."""

    def __init__(self, size: Size) -> None:
        self.size: Size = size
        self.epoch_us: int | None = None
        self.ended = ""
        self.drops: Counter[str] = Counter()
        self.repairs: Counter[str] = Counter()
        self._closed = self._reading = False

    @abstractmethod
    def _read(self) -> Iterator[Frame]:
        """The frames; may set ``ended`` where there is more to say than that all were read."""

    @abstractmethod
    def _release(self) -> None:
        """Lets files go; called by whoever iterates, since a file may not vanish under its reader."""

    def __iter__(self) -> Iterator[Frame]:
        self._reading = True
        try:
            for frame in self._read():
                if self._closed:
                    break
                yield frame
            self.ended = self.ended or ("closed" if self._closed else "all was read")
        finally:
            self._release()

    def close(self) -> None:
        self._closed = True
        if not self._reading:
            self._release()


@final
class Paced:
    """Replays a recording at the pace at which it was taken. Where reading falls behind by more than a second, the replay slows down
    instead of growing ever older."""

    def __init__(
        self, inner: Source, *, clock: Clock | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._inner, self._clock, self._sleep = inner, clock or WallClock(), sleep
        self.drops, self.repairs = inner.drops, inner.repairs
        self.epoch_us: int | None = None
        self._closed = False

    @property
    def size(self) -> Size:
        return self._inner.size

    @property
    def ended(self) -> str:
        return self._inner.ended

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._inner:
            self._await(frame.capture_us)
            yield frame

    def _await(self, capture_us: int) -> None:
        now = self._clock.now()
        if self.epoch_us is None:
            self.epoch_us = now - capture_us
        late_us = now - self.epoch_us - capture_us
        if late_us > LATE_US:
            self.epoch_us += late_us
            self.repairs["replay slowed down"] += 1
        while not self._closed and (left_us := self.epoch_us + capture_us - self._clock.now()) > 0:
            self._sleep(min(to_seconds(left_us), NAP_S))

    def close(self) -> None:
        self._closed = True
        self._inner.close()
