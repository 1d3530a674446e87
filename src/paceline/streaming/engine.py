"""Pipelines live: a thread per camera takes pictures in, others detect, and whoever calls `run` hands outputs on and watches over all."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple, final

from paceline.clock import MICROSECONDS, Clock, WallClock, to_microseconds, to_seconds
from paceline.errors import ConfigError
from paceline.scheduling import Wait
from paceline.streaming.detect.detector import Detector
from paceline.streaming.dispatch import Dispatch
from paceline.streaming.frame import Detections, Frame, Output, Tracks
from paceline.streaming.live import Feed, Live, Status
from paceline.streaming.pipeline import Start

HUNG: Final = 10  # times its expected duration, after which nobody waits for a run any more
HUNG_AT_LEAST_US: Final = MICROSECONDS
NAP_S: Final = 0.5  # at most, between two looks at what runs
JOIN_S: Final = 2.0  # that a thread gets to end
BACKLOG: Final = 64  # outputs that wait for slow sinks

_log = logging.getLogger(__name__)


class _Ready(NamedTuple):
    live: Live
    output: Output
    frame: Frame


@final
class Engine:
    """Live streams by name that share workers (``num_workers``: as many as the pipeline with the most, if not given).

    ``run`` may be called once; the other methods by any thread, at any time. A detector that raises or hangs costs frames, never the
    stream: it rests, and another configuration takes over. A source may be silent for ``patience_s``. One camera's end is not that of
    the others.
    """

    def __init__(
        self,
        feeds: Mapping[str, Feed],
        detectors: Mapping[str, Detector],
        *,
        num_workers: int | None = None,
        patience_s: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        _check(feeds, detectors, patience_s)
        self._detectors, self._clock = detectors, clock or WallClock()
        self._changed = threading.Condition()  # guards all below, and the pipelines
        self._lives = {
            name: Live(feed, self._changed, self._clock, to_microseconds(patience_s)) for name, feed in feeds.items()
        }
        self._num_workers = num_workers or max(feed.pipeline.num_workers for feed in feeds.values())
        self._dispatch = Dispatch({name: live.camera for name, live in self._lives.items()}, self._num_workers)
        self._error: Exception | None = None
        self._active: dict[Start, tuple[threading.Thread, int]] = {}  # who runs it, and since when
        self._stuck: set[str] = set()  # detectors of which a call never came back
        self._ready: deque[_Ready] = deque()
        self._workers: list[threading.Thread] = []

    # ── any thread ───────────────────────────────────────────────────────────────────────────

    def query(self, name: str, at_us: int | None = None) -> Tracks | None:
        """What is on a camera's screen: now, or at a later moment of its clock. None before the first output."""
        with self._changed:
            camera = self._live(name).camera
            return camera.pipeline.query(camera.local_us(self._clock.now()) if at_us is None else at_us)

    def now_us(self, name: str) -> int:
        """A camera's clock, which is that of its captures."""
        with self._changed:
            return self._live(name).camera.local_us(self._clock.now())

    def status(self) -> dict[str, Status]:
        """By camera."""
        with self._changed:
            return {name: live.status(self._clock.now()) for name, live in self._lives.items()}

    def stop(self) -> None:
        """Ends ``run`` soon; what runs is still given out."""
        self._stop("stopped")

    def _stop(self, reason: str) -> None:
        with self._changed:
            for live in self._lives.values():
                live.end(reason)

    def _live(self, name: str) -> Live:
        if name not in self._lives:
            raise ConfigError(f"unknown camera {name!r}; known: {', '.join(self._lives)}")
        return self._lives[name]

    # ── the caller's thread ──────────────────────────────────────────────────────────────────

    def run(self) -> dict[str, Status]:
        """Until all cameras have ended. Raises what a sink raised at once, what a source raised at the end."""
        if self._workers:
            raise ConfigError("an engine runs once; make another")
        try:
            for _ in range(self._num_workers):
                self._hire()
            for live in self._lives.values():
                live.start()
            while not self._is_over:
                self._pass_on(self._look())
        except BaseException:
            self.stop()
            raise
        finally:
            self._shut_down()
        self._pass_on(list(self._ready))
        error = self._error or next((live.error for live in self._lives.values() if live.error is not None), None)
        if error is not None:
            raise error
        return self.status()

    @property
    def _is_over(self) -> bool:
        return all(live.is_over for live in self._lives.values())

    def _look(self) -> list[_Ready]:
        """Waits until there is something to pass on, or something to see to."""
        with self._changed:
            self._see_to_hung()
            for live in self._lives.values():
                live.see_to(self._clock.now())
            if not (self._ready or self._is_over):
                self._changed.wait(self._patience_s())
            ready = list(self._ready)
            self._ready.clear()
            return ready

    def _patience_s(self) -> float:
        now = self._clock.now()
        moments = [since + _limit_us(start) for start, (_, since) in self._active.items()]
        alarm = self._dispatch.watch(now)
        if alarm is not None:
            moments.append(alarm)
        return min([NAP_S, *[max(1e-3, to_seconds(at - now)) for at in moments]])

    def _see_to_hung(self) -> None:
        now = self._clock.now()
        for start, (worker, since) in list(self._active.items()):
            if now - since >= _limit_us(start):
                name = start.configuration.detector
                _log.warning("detector %s did not come back within %.1f s", name, to_seconds(now - since))
                del self._active[start]
                self._workers.remove(worker)
                self._stuck.add(name)
                self._dispatch.failed(start, TimeoutError(name), now)
                self._hire()

    def _pass_on(self, ready: list[_Ready]) -> None:
        for live, output, frame in ready:
            for sink in live.feed.sinks:
                sink(output, frame)

    def _shut_down(self) -> None:
        for live in self._lives.values():
            live.feed.source.close()
        for thread in (*[live.grabber for live in self._lives.values()], *self._workers):
            if thread.ident is not None:
                thread.join(JOIN_S)
        with self._changed:
            for start in list(self._active):  # nobody will hear of these
                self._dispatch.failed(start, TimeoutError(), self._clock.now())
            self._active.clear()
            for live in self._lives.values():
                live.feed.pipeline.check()

    # ── the workers' threads ─────────────────────────────────────────────────────────────────

    def _hire(self) -> None:
        worker = threading.Thread(target=self._work, name="detector", daemon=True)
        self._workers.append(worker)
        worker.start()

    def _work(self) -> None:
        try:
            self._detect()
        except Exception as error:  # a fault of ours: nobody may wait for ever because of it
            self._error = error
            self._stop(f"the pipeline failed: {error!r}")

    def _detect(self) -> None:
        while (start := self._next()) is not None:
            found: Detections | Exception
            try:
                found = self._detectors[start.configuration.detector](start.frame)
            except Exception as error:
                _log.warning("detector %s failed", start.configuration.detector, exc_info=True)
                found = error
            with self._changed:
                if start not in self._active:  # it was given up, and this thread replaced
                    self._stuck.discard(start.configuration.detector)
                    return
                del self._active[start]
                self._learn(start, found)
                self._changed.notify_all()

    def _next(self) -> Start | None:
        """Waits for something to do; None when it is over."""
        with self._changed:
            while not self._is_over:
                now = self._clock.now()
                plan = self._dispatch.schedule(now)
                if isinstance(plan, Wait):
                    self._changed.wait(None if plan.until is None else max(1e-4, to_seconds(plan.until - now)))
                elif plan.configuration.detector in self._stuck:
                    self._dispatch.failed(plan, TimeoutError("still hung"), now)
                else:
                    self._active[plan] = threading.current_thread(), now
                    return plan
        return None

    def _learn(self, start: Start, found: Detections | Exception) -> None:
        now = self._clock.now()
        live = self._lives[self._dispatch.running[start]]
        if isinstance(found, Exception):
            self._dispatch.failed(start, found, now)
            return
        output = self._dispatch.commit(start, found, now)
        if output is None:
            return
        if len(self._ready) == BACKLOG * len(self._lives):
            self._ready.popleft().live.num_unseen += 1
        self._ready.append(_Ready(live, live.feed.pipeline.moved(output, output.emit_us), start.frame))


def _limit_us(start: Start) -> int:
    return max(HUNG * start.predicted_us, HUNG_AT_LEAST_US)


def _check(feeds: Mapping[str, Feed], detectors: Mapping[str, Detector], patience_s: float) -> None:
    if not feeds:
        raise ConfigError("no camera is given; at least one is needed")
    for feed in feeds.values():
        missing = {each.detector for each in feed.pipeline.configurations.values()} - detectors.keys()
        if missing:
            raise ConfigError(f"no detector {min(missing)!r} is loaded; loaded: {', '.join(detectors) or 'none'}")
    if not patience_s > 0:
        raise ConfigError(f"patience_s must be > 0, got {patience_s}")
