"""Several cameras, one set of workers: whose frame is next. Pure.

Earliest deadline first: the camera whose screen will be too old soonest. Each has a clock of its own, that of its captures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, final

from paceline.errors import ConfigError
from paceline.scheduling import Wait
from paceline.streaming.frame import Detections, Frame, Output
from paceline.streaming.pipeline import Pipeline, Start

Item: TypeAlias = tuple[str, Frame]


@dataclass(slots=True)
class Camera:
    """A pipeline and its clock, which began at ``epoch_us`` of the common one (None: it has not yet)."""

    pipeline: Pipeline
    epoch_us: int | None = 0
    _latest_us: int = field(default=0, init=False)

    def local_us(self, now: int) -> int:
        """The camera's time; it never goes back, though a replay that fell behind begins anew."""
        if self.epoch_us is not None:
            self._latest_us = max(self._latest_us, now - self.epoch_us)
        return self._latest_us

    def common_us(self, at_us: int, now: int) -> int:
        """The common time of a moment to come."""
        return now + max(1, at_us - self.local_us(now))


@final
class Dispatch:
    """Pipelines of ``cameras`` share ``num_workers``. All times are on the common clock."""

    def __init__(self, cameras: Mapping[str, Camera], num_workers: int = 1) -> None:
        if not cameras or num_workers < 1:
            raise ConfigError(f"cameras and num_workers must be >= 1, got {len(cameras)} and {num_workers}")
        self.cameras = dict(cameras)
        self.running: dict[Start, str] = {}
        self._num_workers = num_workers

    def submit(self, item: Item, now: int) -> None:
        """Takes in a camera's frame."""
        name, frame = item
        camera = self.cameras[name]
        camera.pipeline.submit(frame, camera.local_us(now))

    def schedule(self, now: int) -> Start | Wait:
        """What a free worker does next."""
        if len(self.running) >= self._num_workers:
            return Wait(self.watch(now))
        until: list[int] = []
        for name, camera in sorted(self.cameras.items(), key=lambda pair: _left_us(pair[1], now)):
            plan = camera.pipeline.schedule(camera.local_us(now))
            if isinstance(plan, Start):
                self.running[plan] = name
                return plan
            if plan.until is not None:
                until.append(camera.common_us(plan.until, now))
        return Wait(min(until, default=None))

    def watch(self, now: int) -> int | None:
        """Notes which runs take far too long; tells when the next one would."""
        alarms = [(camera, camera.pipeline.watch(camera.local_us(now))) for camera in self.cameras.values()]
        return min([camera.common_us(at, now) for camera, at in alarms if at is not None], default=None)

    def commit(self, plan: Start, result: Detections, now: int) -> Output | None:
        camera = self.cameras[self.running.pop(plan)]
        return camera.pipeline.commit(plan, result, camera.local_us(now))

    def failed(self, plan: Start, error: BaseException, now: int) -> None:
        camera = self.cameras[self.running.pop(plan)]
        camera.pipeline.failed(plan, error, camera.local_us(now))


def _left_us(camera: Camera, now: int) -> float:
    deadline_us = camera.pipeline.deadline_us
    return float("inf") if deadline_us is None else deadline_us - camera.local_us(now)
