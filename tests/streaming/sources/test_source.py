from __future__ import annotations

from collections.abc import Iterator

from paceline.clock import VirtualClock
from paceline.streaming.frame import Frame
from paceline.streaming.sources.source import Paced, Recording


class Ten(Recording):
    """Ten frames, 100 ms apart, each of which takes ``read_us`` to read."""

    def __init__(self, clock: VirtualClock, read_us: int) -> None:
        super().__init__((8, 8))
        self.clock, self.read_us, self.released = clock, read_us, 0

    def _read(self) -> Iterator[Frame]:
        for index in range(10):
            self.clock.advance(self.read_us)
            yield Frame(index, index * 100_000, self.size)

    def _release(self) -> None:
        self.released += 1


def replay(read_us: int) -> tuple[Paced, Ten, list[int]]:
    """When, on the recording's clock, each frame came."""
    clock = VirtualClock(7_000_000)
    inner = Ten(clock, read_us)
    source = Paced(inner, clock=clock, sleep=lambda seconds: clock.advance(round(seconds * 1e6)))
    ages = []
    for frame in source:
        assert source.epoch_us is not None
        ages.append(clock.now() - source.epoch_us - frame.capture_us)
    return source, inner, ages


def test_a_paced_recording_comes_on_time() -> None:
    source, inner, ages = replay(read_us=30_000)
    assert ages == [0] * 10
    assert source.epoch_us == 7_030_000
    assert (source.ended, inner.released) == ("all was read", 1)


def test_slow_reading_never_falls_far_behind() -> None:
    source, _, ages = replay(read_us=400_000)
    assert max(ages) <= 1_000_000
    assert source.repairs["replay slowed down"] > 0


def test_closing_ends_it_with_a_reason() -> None:
    clock = VirtualClock()
    source = Ten(clock, 0)
    for frame in source:
        if frame.index == 2:
            source.close()
    assert source.ended == "closed"
    assert source.released == 1


def test_closing_unread_lets_go() -> None:
    source = Ten(VirtualClock(), 0)
    source.close()
    assert source.released == 1
