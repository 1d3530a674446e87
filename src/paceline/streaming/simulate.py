"""The pipeline in virtual time: what would have been on the screen, with detections and durations that are known. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, final

from paceline.clock import VirtualClock, to_microseconds
from paceline.scheduling import Wait
from paceline.sim.loop import EventLoop
from paceline.streaming.frame import Detections, Frame, Log, Output, Tracks
from paceline.streaming.pipeline import Pipeline, Start, Switch
from paceline.streaming.score.shown import Shown

Detect: TypeAlias = Callable[[Start], tuple[float, Detections]]
"""Seconds that a start takes, and what it finds."""

_ARRIVAL, _COMPLETION, _DECISION, _QUERY = range(4)  # order of events at one moment


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a pipeline did on a log. ``shown``: what a query gave at each frame's time, completions of that moment included."""

    outputs: tuple[Output, ...]
    shown: Shown
    drops: Counter[str]
    switches: tuple[Switch, ...]


def simulate(pipeline: Pipeline, log: Log, detect: Detect) -> Simulated:
    """Runs a pipeline that is new over a log without pixels. Frames come in when they are captured."""
    outputs: list[Output] = []
    shown: list[Tracks | None] = []
    run = _Run(pipeline, detect, outputs.append)
    times_us = log.times_us.tolist()
    speeds = [None] * len(times_us) if log.ego_speed is None else log.ego_speed.tolist()
    for index, (at_us, speed) in enumerate(zip(times_us, speeds, strict=True)):
        run.arrive(Frame(index, at_us, log.size), speed)
        run.loop.at(at_us, partial(_ask, pipeline, at_us, shown), rank=_QUERY)
    run.loop.run()
    pipeline.check()
    return Simulated(tuple(outputs), tuple(shown), Counter(pipeline.drops), tuple(pipeline.switches))


def play(pipeline: Pipeline, frames: Iterable[Frame], detect: Detect, sink: Callable[[Output], None]) -> None:
    """Runs a pipeline over pictures as fast as they can be read, dropping those that it would have dropped live."""
    run = _Run(pipeline, detect, lambda output: sink(pipeline.moved(output, output.emit_us)))
    for frame in frames:
        run.loop.run(until=frame.capture_us - 1)
        run.arrive(frame, None)
    run.loop.run()
    pipeline.check()


def _ask(pipeline: Pipeline, at_us: int, shown: list[Tracks | None]) -> None:
    shown.append(pipeline.query(at_us))


@final
class _Run:
    """Events of one run, with as many devices as the pipeline has workers."""

    def __init__(self, pipeline: Pipeline, detect: Detect, emit: Callable[[Output], None]) -> None:
        self.loop = EventLoop(VirtualClock(-(1 << 62)))
        self._pipeline, self._detect, self._emit = pipeline, detect, emit
        self._alarm: int | None = None

    def arrive(self, frame: Frame, ego_speed: float | None) -> None:
        def submit() -> None:
            now = self.loop.clock.now()
            self._pipeline.submit(frame, now, ego_speed)
            self.loop.at(now, self._decide, rank=_DECISION)

        self.loop.at(max(frame.capture_us, self.loop.clock.now()), submit, rank=_ARRIVAL)

    def _decide(self) -> None:
        now = self.loop.clock.now()
        while not isinstance(plan := self._pipeline.schedule(now), Wait):
            self._launch(plan, now)
        if plan.until is not None and plan.until != self._alarm:
            assert plan.until > now, f"the pipeline waits at {now} until {plan.until}, which is no wait"
            self._alarm = plan.until
            self.loop.at(plan.until, self._decide, rank=_DECISION)

    def _launch(self, start: Start, now: int) -> None:
        seconds, detections = self._detect(start)
        duration_us = to_microseconds(seconds)
        assert duration_us >= 0, f"a start cannot take {seconds} seconds"
        self.loop.at(now + duration_us, lambda: self._complete(start, detections), rank=_COMPLETION)

    def _complete(self, start: Start, detections: Detections) -> None:
        now = self.loop.clock.now()
        output = self._pipeline.commit(start, detections, now)
        if output is not None:
            self._emit(output)
        self.loop.at(now, self._decide, rank=_DECISION)
