"""Live pictures: a thread grabs, the newest one waits in a slot, whatever fails or stalls is opened again.

A thread that hangs inside a driver cannot be ended. It is left alone and not heard any more; when its call returns, it lets go of what
it opened.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias, final

from paceline.clock import Clock, WallClock, to_seconds
from paceline.errors import ResourceError
from paceline.streaming.frame import Frame, Pixels, Size
from paceline.streaming.sources.link import Link, Patience
from paceline.streaming.sources.source import reason_of


class Feed(Protocol):
    """An open camera."""

    def __iter__(self) -> Iterator[Pixels | None]:
        """Pictures as they come; None for one that was lost."""
        ...

    def close(self) -> None: ...


Opener: TypeAlias = Callable[[Size | None], Feed]
"""Opens a camera anew; its pictures have the size that is asked for, or their own. May raise whatever it likes."""


@final
class Camera:
    """A source that ends only when it is closed, or after long silence. The first attempt starts at once."""

    def __init__(
        self, name: str, opener: Opener, *, patience: Patience | None = None, clock: Clock | None = None
    ) -> None:
        self.drops: Counter[str] = Counter()
        self.repairs: Counter[str] = Counter()
        self.ended = ""
        self._name, self._opener = name, opener
        self._clock = clock or WallClock()
        self.epoch_us: int | None = self._clock.now()
        self._link = Link(patience or Patience(), self.epoch_us)
        self._changed = threading.Condition()
        self._size: Size | None = None
        self._frame: Frame | None = None
        self._num_frames = 0

    @property
    def size(self) -> Size:
        """That of the first picture, which is waited for."""
        with self._changed:
            while self._size is None and not self.ended:
                self._step()
            if self._size is None:
                raise ResourceError(
                    f"{self._name} gave no picture: {self.ended}; check that it is on and can be reached"
                )
            return self._size

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                while self._frame is None and not self.ended:
                    self._step()
                frame, self._frame = self._frame, None
            if frame is None:
                return
            yield frame

    def close(self) -> None:
        self._end("closed")

    def _step(self) -> None:
        """Does what is due, then waits for a picture or for the next thing due. The lock is held."""
        now = self._clock.now()
        if self._link.lost(now):
            self._end(f"no picture for long; at last: {self._link.reason}")
            return
        if self._link.stalled(now):
            self._fail("stalled")
        elif self._link.due(now):
            number = self._link.start(now)
            threading.Thread(target=self._grab, args=(number,), name=f"grab {self._name}", daemon=True).start()
        self._changed.wait(max(0.0, to_seconds(self._link.next_check() - self._clock.now())))

    def _grab(self, number: int) -> None:
        """Runs in a thread of its own, until the feed fails or is not wanted any more."""
        reason = "the feed ended"
        try:
            feed = self._opener(self._size)
            try:
                for pixels in feed:
                    if not self._put(number, pixels):
                        return
            finally:
                feed.close()
        except Exception as error:  # of a driver, which may raise anything
            reason = f"{type(error).__name__}: {reason_of(error)}"
        with self._changed:
            if self._counts(number):
                self._fail(reason)

    def _put(self, number: int, pixels: Pixels | None) -> bool:
        """Takes in a picture; False if this thread is not heard any more."""
        with self._changed:
            if not self._counts(number):
                return False
            now = self._clock.now()
            size = None if pixels is None else (pixels.shape[1], pixels.shape[0])
            if pixels is None or size is None:
                self.drops["does not decode"] += 1
            elif self._size not in (None, size):
                self.drops["another size"] += 1
            else:
                self._link.live(now)
                if self._frame is not None:
                    self.drops["overtaken by a newer one"] += 1
                assert self.epoch_us is not None
                self._size = size
                self._frame = Frame(self._num_frames, now - self.epoch_us, size, pixels)
            self._num_frames += 1
            self._changed.notify_all()
            return True

    def _counts(self, number: int) -> bool:
        return not self.ended and number == self._link.attempt

    def _fail(self, reason: str) -> None:
        self._link.fail(reason, self._clock.now())
        self._link.attempt += 1  # its thread is not heard any more
        self.repairs[f"opened again: {reason}"] += 1
        self._changed.notify_all()

    def _end(self, reason: str) -> None:
        with self._changed:
            self.ended = self.ended or reason
            self._changed.notify_all()
