"""One camera while it runs: pictures come in from its source by a thread of its own, and somebody notices when none do."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, final

from paceline.clock import MICROSECONDS, Clock, to_seconds
from paceline.errors import ConfigError, ExecutionError, PacelineError
from paceline.streaming.dispatch import Camera
from paceline.streaming.frame import Frame, Output
from paceline.streaming.pipeline import Pipeline
from paceline.streaming.sources.source import Source

Sink: TypeAlias = Callable[[Output, Frame], None]
"""Gets outputs in order of capture, each with its frame, always by the thread that calls `Engine.run`."""

DRAIN_US: Final = 2 * MICROSECONDS  # that the last frame may wait for a detector once the source has ended


@dataclass(frozen=True, slots=True)
class Feed:
    """A source, what is made of it, and who gets it."""

    source: Source
    pipeline: Pipeline
    sinks: tuple[Sink, ...] = ()

    def __post_init__(self) -> None:
        if self.source.size != self.pipeline.size:
            raise ConfigError(
                f"the pipeline was made for pictures of {self.pipeline.size}, but the source gives {self.source.size}"
            )


@dataclass(frozen=True, slots=True)
class Status:
    """How a stream is doing, or how it did. ``drops`` counts frames without an output by reason, those that the source lost too.

    ``reason``: why it ended; empty while it runs. ``num_unseen``: outputs that slow sinks did not get.
    """

    reason: str
    configuration: str
    is_stale: bool
    num_submitted: int
    num_outputs: int
    num_unseen: int
    num_overruns: int
    contention: float
    drops: Counter[str]


@final
class Live:
    """A feed in an engine. ``changed`` guards everything in it, the pipeline too."""

    def __init__(self, feed: Feed, changed: threading.Condition, clock: Clock, patience_us: int) -> None:
        self.feed, self.camera = feed, Camera(feed.pipeline, None)
        self.error: Exception | None = None
        self.is_over = False
        self.num_unseen = 0
        self._changed, self._clock, self._patience_us = changed, clock, patience_us
        self._heard_us = clock.now()  # when the last frame came
        self._ended_us: int | None = None  # when the source ended
        self._reason = ""
        self.grabber = threading.Thread(target=self._grab, name="grabber", daemon=True)

    def start(self) -> None:
        self._heard_us = self._clock.now()
        self.grabber.start()

    def see_to(self, now: int) -> None:
        """Ends it once its source has ended and all is done, or has been silent for too long."""
        if self.is_over:
            return
        if self._ended_us is not None:
            if now - self._ended_us >= DRAIN_US:
                self.feed.pipeline.close()
            if self.feed.pipeline.is_idle:
                self.end(self._reason)
        elif now - self._heard_us >= self._patience_us:
            self.end(f"no picture came for {to_seconds(self._patience_us):g} s")

    def end(self, reason: str) -> None:
        """No frame is taken in or started any more."""
        if not self.is_over:
            self.is_over, self._reason = True, self._reason or reason
            self.feed.pipeline.close()
            self._changed.notify_all()

    def status(self, now: int) -> Status:
        pipeline = self.feed.pipeline
        drops = Counter[str]()
        drops.update(self.feed.source.drops)
        drops.update(pipeline.drops)
        return Status(
            self._reason if self.is_over else "",
            pipeline.switches[-1].configuration if pipeline.switches else "",
            pipeline.is_stale(self.camera.local_us(now)),
            pipeline.num_submitted,
            pipeline.num_outputs,
            self.num_unseen,
            pipeline.num_overruns,
            pipeline.runtimes.contention,
            drops,
        )

    # ── the grabber's thread ─────────────────────────────────────────────────────────────────

    def _grab(self) -> None:
        reason, error = "", None
        try:
            for frame in self.feed.source:
                if not self._take_in(frame):
                    break
            reason = self.feed.source.ended or "the source ended"
        except PacelineError as caught:
            reason, error = str(caught), caught
        except Exception as caught:
            reason, error = f"the source failed: {caught!r}", ExecutionError(f"the source failed: {caught!r}")
            error.__cause__ = caught
        with self._changed:
            if not self.is_over:
                self.error, self._reason = error, reason
            self._ended_us = self._clock.now()
            self._changed.notify_all()

    def _take_in(self, frame: Frame) -> bool:
        with self._changed:
            if self.is_over:
                return False
            self.camera.epoch_us = self.feed.source.epoch_us
            if self.camera.epoch_us is None:
                raise ConfigError("a source that is read as fast as it can be has no age; open it paced, or play() it")
            self._heard_us = now = self._clock.now()
            self.feed.pipeline.submit(frame, self.camera.local_us(now))
            self._changed.notify_all()
            return True
