"""Drives a scheduler through a day in a second: arrivals and durations in, its own decisions out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar, final

from paceline.clock import VirtualClock, to_microseconds
from paceline.scheduling import Scheduler, Wait
from paceline.sim.arrivals import Arrival
from paceline.sim.loop import EventLoop

Item = TypeVar("Item")
Plan = TypeVar("Plan")
Result = TypeVar("Result")

_ARRIVAL, _COMPLETION, _ALARM = 0, 1, 2  # order of events at one moment


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay took, in microseconds of virtual time."""

    end: int
    busy: int
    num_plans: int

    @property
    def utilisation(self) -> float:
        """Share of the time the device was busy, 0..1."""
        return self.busy / self.end if self.end else 0.0


def replay(
    scheduler: Scheduler[Item, Plan, Result],
    arrivals: Iterable[Arrival[Item]],
    execute: Callable[[Plan], tuple[float, Result]],
    *,
    clock: VirtualClock | None = None,
    until: int | None = None,
) -> Replayed:
    """Runs ``scheduler`` on one device in virtual time, until nothing is left or past ``until`` (microseconds).

    ``execute(plan)`` returns the seconds the plan takes and its result. ``arrivals`` are in order of
    time and may be endless if ``until`` is given. Work that arrives while the device is busy is
    submitted at its own time; what happens at one moment happens as arrivals, completion, decision.
    """
    driver = _Driver(scheduler, iter(arrivals), execute, EventLoop(clock))
    driver.expect_next()
    driver.decide()
    while driver.loop.step(until):
        driver.decide()
    return Replayed(driver.loop.clock.now(), driver.busy, driver.num_plans)


@final
class _Driver(Generic[Item, Plan, Result]):
    def __init__(
        self,
        scheduler: Scheduler[Item, Plan, Result],
        arrivals: Iterator[Arrival[Item]],
        execute: Callable[[Plan], tuple[float, Result]],
        loop: EventLoop,
    ) -> None:
        self.loop = loop
        self.busy = 0
        self.num_plans = 0
        self._scheduler = scheduler
        self._arrivals = arrivals
        self._execute = execute
        self._running = False
        self._alarm: int | None = None

    def expect_next(self) -> None:
        """Puts the next arrival into the queue: one at a time, so that a stream may be endless."""
        arrival = next(self._arrivals, None)
        if arrival is not None:
            self.loop.at(arrival.at, lambda: self._arrive(arrival), rank=_ARRIVAL)

    def _arrive(self, arrival: Arrival[Item]) -> None:
        self._scheduler.submit(arrival.item, arrival.at)
        self.expect_next()

    def decide(self) -> None:
        """Starts the next plan if the device is free."""
        if self._running:
            return
        now = self.loop.clock.now()
        plan = self._scheduler.schedule(now)
        if isinstance(plan, Wait):
            self._wake(plan.until, now)
            return
        seconds, result = self._execute(plan)
        duration = to_microseconds(seconds)
        assert duration >= 0, f"a plan cannot take {seconds} seconds"
        self._running = True
        self.busy += duration
        self.num_plans += 1
        self.loop.at(now + duration, lambda: self._complete(plan, result), rank=_COMPLETION)

    def _wake(self, until: int | None, now: int) -> None:
        if until is None:
            return
        assert until > now, f"the scheduler waits at {now} until {until}, which is no wait"
        if until != self._alarm:
            self._alarm = until
            self.loop.at(until, _nothing, rank=_ALARM)

    def _complete(self, plan: Plan, result: Result) -> None:
        self._running = False
        self._scheduler.commit(plan, result, self.loop.clock.now())


def _nothing() -> None:
    """An alarm only makes the driver ask again."""
