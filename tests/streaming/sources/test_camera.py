from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from paceline.errors import ResourceError
from paceline.streaming.frame import Pixels, Size
from paceline.streaming.sources.camera import Camera, Feed
from paceline.streaming.sources.link import Patience
from tests.streaming.sources.made import picture

QUICK = Patience(stall_s=0.1, open_s=0.5, first_wait_s=0.001, longest_wait_s=0.01, give_up_s=0.6)
STEADY = Patience(stall_s=20, open_s=20, first_wait_s=0.001, longest_wait_s=0.01, give_up_s=60)


class Script:
    """Feeds by order: each is a list of pictures, None (does not decode), errors to raise, or events to hang at."""

    def __init__(self, *feeds: list[object]) -> None:
        self.feeds = list(feeds)
        self.sizes: list[Size | None] = []
        self.num_closed = 0
        self.taken = threading.Semaphore(0)  # a picture is made when the one before was taken

    def __call__(self, size: Size | None) -> Feed:
        self.sizes.append(size)
        steps = self.feeds.pop(0) if self.feeds else [OSError("nobody there")]
        return Played(self, steps)


class Played:
    def __init__(self, script: Script, steps: list[object]) -> None:
        self._script, self._steps = script, steps
        if steps and isinstance(steps[0], Exception):
            raise steps[0]

    def __iter__(self) -> Iterator[Pixels | None]:
        for step in self._steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, threading.Event):
                step.wait(30)
                continue
            yield step  # type: ignore[misc]
            if step is not None:
                assert self._script.taken.acquire(timeout=30)

    def close(self) -> None:
        self._script.num_closed += 1


def take(camera: Camera, script: Script, count: int) -> list[Pixels]:
    found = []
    for frame in camera:
        assert frame.pixels is not None
        found.append(frame.pixels)
        if len(found) == count:
            camera.close()
        script.taken.release()
    return found


def test_a_cut_feed_is_opened_again_at_the_same_size() -> None:
    script = Script([picture(0), picture(1), OSError("cut")], [OSError("refused")], [picture(2)], [picture(3)])
    camera = Camera("cam", script, patience=STEADY)
    assert [int(pixels[0, 0, 0]) for pixels in take(camera, script, 4)] == [0, 11, 22, 33]
    assert camera.ended == "closed"
    assert camera.repairs == {
        "opened again: OSError: cut": 1,
        "opened again: OSError: refused": 1,
        "opened again: the feed ended": 1,
    }
    assert script.sizes == [None, (64, 48), (64, 48), (64, 48)]


def test_a_stalled_feed_is_left_and_not_heard_any_more() -> None:
    hanging = threading.Event()
    script = Script([picture(0), hanging, picture(9)], [picture(1)])
    camera = Camera("cam", script, patience=Patience(stall_s=0.1, open_s=20, first_wait_s=0.001, give_up_s=60))
    assert [int(pixels[0, 0, 0]) for pixels in take(camera, script, 2)] == [0, 11]
    assert camera.repairs["opened again: stalled"] >= 1
    hanging.set()
    for thread in threading.enumerate():
        if thread.name == "grab cam":
            thread.join(30)
    assert script.num_closed == 2


def test_silence_ends_it_with_the_last_reason() -> None:
    script = Script([picture(0)])
    camera = Camera("cam", script, patience=QUICK)
    for _ in camera:
        script.taken.release()
    assert camera.ended.startswith("no picture for long")
    assert "nobody there" in camera.ended


def test_a_camera_that_is_not_there_has_no_size() -> None:
    camera = Camera("cam", Script(), patience=QUICK)
    with pytest.raises(ResourceError, match=r"cam gave no picture.*nobody there"):
        _ = camera.size
    assert list(camera) == []


def test_size_is_that_of_the_first_picture_and_costs_no_frame() -> None:
    script = Script([picture(0), picture(1)])
    camera = Camera("cam", script, patience=STEADY)
    assert camera.size == (64, 48)
    assert len(take(camera, script, 2)) == 2


def test_what_is_lost_is_counted() -> None:
    script = Script([None, picture(0), None, picture(1, (32, 32)), picture(2)])
    camera = Camera("cam", script, patience=STEADY)
    script.taken.release()  # for the one of another size, which nobody takes
    assert len(take(camera, script, 2)) == 2
    assert camera.drops == {"does not decode": 2, "another size": 1}


def test_the_newest_picture_overtakes() -> None:
    script = Script([picture(0), picture(1), picture(2), threading.Event()])
    script.taken.release(3)
    made = threading.Event()

    def opener(size: Size | None) -> Feed:
        feed = script(size)
        return Watched(feed, made.set)

    camera = Camera("cam", opener, patience=STEADY)
    assert camera.size == (64, 48)
    assert made.wait(30)
    frame = next(iter(camera))
    camera.close()
    assert (frame.index, camera.drops["overtaken by a newer one"]) == (2, 2)


class Watched:
    """Tells when three pictures were taken in."""

    def __init__(self, inner: Feed, done: Callable[[], None]) -> None:
        self._inner, self._done = inner, done

    def __iter__(self) -> Iterator[Pixels | None]:
        for number, pixels in enumerate(self._inner):
            yield pixels
            if number == 2:
                self._done()

    def close(self) -> None:
        self._inner.close()
