"""The verbs fit a plain scheduler, and Wait is a value."""

from __future__ import annotations

import pytest

from paceline.scheduling import Scheduler, Wait


class OneByOne:
    def __init__(self) -> None:
        self.waiting: list[str] = []

    def submit(self, item: str, now: int) -> None:
        self.waiting.append(item)

    def schedule(self, now: int) -> str | Wait:
        return self.waiting.pop(0) if self.waiting else Wait()

    def commit(self, plan: str, result: int, now: int) -> None:
        pass


def test_a_plain_class_is_a_scheduler() -> None:
    scheduler: Scheduler[str, str, int] = OneByOne()
    scheduler.submit("a", 0)
    assert scheduler.schedule(0) == "a"
    assert scheduler.schedule(0) == Wait(until=None)


def test_wait_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Wait(5).until = 6  # type: ignore[misc]
