"""The scheduler: takes frames in, says which is worked on next and how, keeps tracks, answers where things are. Pure.

Only the newest frame waits; older ones are dropped and counted. What is decided for a frame follows from times and results alone, so
the same pipeline runs live and in virtual time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, final

from paceline.clock import to_microseconds, to_seconds
from paceline.errors import ConfigError
from paceline.scheduling import Wait
from paceline.streaming.agreement import agreement
from paceline.streaming.configuration import Configuration, by_name
from paceline.streaming.fallback import Fallback
from paceline.streaming.features import window_features
from paceline.streaming.forecast import Forecaster
from paceline.streaming.frame import Detections, Frame, Output, Size, Tracks
from paceline.streaming.pacing import Pacing
from paceline.streaming.policy import Policy
from paceline.streaming.profile import Runtimes
from paceline.streaming.sequence import INFINITE, RULES, Rule
from paceline.streaming.track.history import History
from paceline.streaming.track.tracker import make_tracker

WINDOW_S: Final = 1.0
OVERRUN: Final = 2  # times the 99th percentile of its duration, after which a run counts as stuck
_KEPT: Final = 4096  # newest switches

Reason = Literal["replaced", "out of order", "too old", "failed", "hung", "too late", "overtaken", "ended"]


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A decision: this frame, this way."""

    frame: Frame
    configuration: Configuration
    start_us: int
    predicted_us: int  # how long it will take


@dataclass(frozen=True, slots=True)
class Switch:
    """From this moment frames are started with another configuration."""

    at_us: int
    configuration: str


@final
class Pipeline:
    """One stream of pictures of one size. All moments are microseconds on the clock of the captures.

    ``rule`` says when a worker starts, ``num_workers`` how many there are. No output is given that is older than ``max_output_age_s``:
    frames that would be are not started, and a faster configuration is taken where the wanted one cannot be in time. At each window's
    border the policy is asked; its choice holds for what starts from then on.
    """

    def __init__(
        self,
        configurations: Iterable[Configuration],
        policy: Policy,
        runtimes: Runtimes,
        *,
        size: Size,
        rule: Rule | None = None,
        num_workers: int | Literal["infinite"] = 1,
        max_output_age_s: float = 1.0,
        window_s: float = WINDOW_S,
    ) -> None:
        if num_workers != INFINITE and num_workers < 1:
            raise ConfigError(f'num_workers must be >= 1 or "infinite", got {num_workers}')
        if not (window_s > 0 and max_output_age_s > 0):
            raise ConfigError(f"window_s and max_output_age_s must be > 0, got {window_s} and {max_output_age_s}")
        self.configurations = by_name(configurations)
        self.runtimes, self.size = runtimes, size
        self.drops: Counter[Reason] = Counter()
        self.switches: deque[Switch] = deque(maxlen=_KEPT)
        self.num_submitted = self.num_outputs = self.num_overruns = 0
        self._policy, self._num_workers = policy, num_workers
        self._window_us, self._max_age_us = to_microseconds(window_s), to_microseconds(max_output_age_s)
        self._pacing = Pacing(rule or RULES["tail-aware"])
        self._fallback = Fallback(self.configurations, runtimes, self._max_age_us)
        first = next(iter(self.configurations.values()))
        tracker = make_tracker(first.tracker, max_age_s=first.max_age_s, match_iou=first.match_iou, size=size)
        self._tracker = tracker if num_workers == 1 else History(tracker)
        self._forecaster = Forecaster(self._tracker, size)
        self._wanted, self._used = first.name, first
        self._waiting: Frame | None = None
        self._delay_us = 0  # how old the newest frame was when it came in
        self._running: dict[Start, int | None] = {}  # and when it overruns; None: it has
        self._newest_us: int | None = None  # capture of the newest frame
        self._screen_us = 0  # capture of the newest frame that was started, or at first of the first that came
        self._border_us: int | None = None  # of the next window
        self._outputs: list[Output] = []  # of this window
        self._ego_speed: float | None = None
        self._agreements: list[float] = []
        self._shown: deque[Output] = deque(maxlen=3)

    # ── submit ───────────────────────────────────────────────────────────────────────────────

    def submit(self, item: Frame, now: int, ego_speed: float | None = None) -> None:
        """Takes in a frame that came at ``now``; it replaces one that waits. ``ego_speed`` in m/s where it is known."""
        frame = item
        self.num_submitted += 1
        if self._newest_us is not None and frame.capture_us <= self._newest_us:
            self.drops["out of order"] += 1
            return
        if self._newest_us is None:
            self._screen_us = frame.capture_us
        self._newest_us, self._delay_us = frame.capture_us, max(0, now - frame.capture_us)
        if ego_speed is not None:
            self._ego_speed = ego_speed
        if self._waiting is not None:
            self.drops["replaced"] += 1
        self._waiting = frame
        self._pacing.arrived(frame.capture_us, now)
        if self._border_us is None or frame.capture_us >= self._border_us:
            self._choose(frame.capture_us, now)

    def _choose(self, capture_us: int, now: int) -> None:
        """A window begins: tells the policy how the last one went, and asks what comes next."""
        features = None
        if self._border_us is not None:
            features = window_features(self._outputs, self.size, ego_speed=self._ego_speed)
            if self._agreements:
                agreement = sum(self._agreements) / len(self._agreements)
                self._policy.observe(self._shown[-1].configuration, agreement, now)
        wanted = self._policy.choose(features, self._wanted, now)
        if wanted not in self.configurations:
            raise ConfigError(f"the policy chose {wanted!r}; known configurations: {', '.join(self.configurations)}")
        begun = capture_us if self._border_us is None else self._border_us
        self._border_us = capture_us - (capture_us - begun) % self._window_us + self._window_us
        self._wanted = wanted
        self._outputs, self._agreements = [], []

    # ── schedule ─────────────────────────────────────────────────────────────────────────────

    def schedule(self, now: int) -> Start | Wait:
        """What a free worker does next, or until when there is nothing to do. May be asked while all are busy."""
        alarm = self.watch(now)
        frame = self._waiting
        if frame is None or (self._num_workers != INFINITE and len(self._running) >= self._num_workers):
            return Wait(alarm)
        wanted = self.configurations[self._wanted]
        start_at = self._pacing.start_at(now, self.runtimes.typical_us(wanted.detector))
        if start_at > now:
            return _sooner(start_at, alarm)
        picked = self._fallback.pick(self._wanted, self._delay_us, now)
        if isinstance(picked, Wait):
            return _sooner(picked.until, alarm)
        if picked is None or self._is_too_old(picked, frame, now):
            self._discard("too old")
            return Wait(alarm)
        return self._start(picked, frame, now)

    def _is_too_old(self, picked: Configuration, frame: Frame, now: int) -> bool:
        """Where not even a fresh one would be in time, this is a trial."""
        return not self._fallback.fits(picked, now - frame.capture_us) and self._fallback.fits(picked, self._delay_us)

    def _start(self, configuration: Configuration, frame: Frame, now: int) -> Start:
        self._waiting, self._screen_us = None, frame.capture_us
        self._pacing.started()
        if configuration is not self._used or not self.switches:
            self.switches.append(Switch(now, configuration.name))
            self._used = configuration
        start = Start(frame, configuration, now, self.runtimes.typical_us(configuration.detector))
        self._running[start] = now + OVERRUN * self.runtimes.high_us(configuration.detector)
        return start

    def watch(self, now: int) -> int | None:
        """Notes which runs take far too long; tells when the next one would."""
        alarm = None
        for start, limit_us in self._running.items():
            if limit_us is None:
                continue
            if now >= limit_us:
                self._running[start] = None
                self.num_overruns += 1
                self._fallback.overran(start.configuration.detector, now)
            elif alarm is None or limit_us < alarm:
                alarm = limit_us
        return alarm

    def _discard(self, reason: Reason) -> None:
        self._waiting = None
        self._pacing.started()
        self.drops[reason] += 1

    # ── commit ───────────────────────────────────────────────────────────────────────────────

    def commit(self, plan: Start, result: Detections, now: int) -> Output | None:
        """Takes in what was found. None if nobody should see it any more: it is too old, or a newer one was faster."""
        start, configuration, capture_us = plan, plan.configuration, plan.frame.capture_us
        self._end(start, now)
        self.runtimes.observe(configuration.detector, to_seconds(now - start.start_us))
        self._fallback.worked(configuration.detector)
        found = result.above(configuration.min_score)
        overtaken = bool(self._shown) and capture_us < self._shown[-1].capture_us
        if not overtaken:
            self._judge(found, capture_us)
            self._tracker.tune(max_age_s=configuration.max_age_s, match_iou=configuration.match_iou)
        self._tracker.update(found, capture_us)
        if overtaken or now - capture_us > self._max_age_us:
            self.drops["overtaken" if overtaken else "too late"] += 1
            return None
        tracks = self._tracker.emitted()
        output = Output(start.frame.index, capture_us, now, capture_us, configuration.name, tracks)
        self.num_outputs += 1
        self._outputs.append(output)
        self._shown.append(output)
        return output

    def failed(self, start: Start, error: BaseException, now: int) -> None:
        """The detector raised, or (TimeoutError) never came back. It rests, and what else there is takes its place."""
        self._end(start, now)
        self._fallback.failed(start.configuration.detector, now)
        self.drops["hung" if isinstance(error, TimeoutError) else "failed"] += 1

    def close(self) -> None:
        """No frame is started any more; one that waits is dropped."""
        if self._waiting is not None:
            self._discard("ended")

    def _end(self, start: Start, now: int) -> None:
        self.watch(now)
        del self._running[start]
        self._pacing.freed(now)

    def _judge(self, found: Detections, capture_us: int) -> None:
        """Compares what was on the screen when a picture was taken with what is in it, now that this is known."""
        shown = self._on_screen(capture_us)
        if shown is not None and len(shown) + len(found):
            self._agreements.append(agreement(shown, found))

    # ── query ────────────────────────────────────────────────────────────────────────────────

    def query(self, at_us: int) -> Tracks | None:
        """What is on the screen at a moment, ``now`` or later; None before the first output.

        With a configuration that forecasts, where things are then; else the newest output, however old.
        """
        shown = self.shown(at_us)
        return None if shown is None else shown.tracks

    def moved(self, output: Output, at_us: int) -> Output:
        """An output just given as it should be shown at a moment."""
        if not self.configurations[output.configuration].forecast:
            return output
        tracks = self._forecaster.query(at_us)
        return Output(output.frame_index, output.capture_us, output.emit_us, at_us, output.configuration, tracks)

    def shown(self, at_us: int) -> Output | None:
        """The newest output as it is on the screen at a moment; None before the first."""
        return self.moved(self._shown[-1], at_us) if self._shown else None

    def is_stale(self, now: int) -> bool:
        """Whether what is shown is older than it may be, or a run is stuck."""
        if any(limit_us is None for limit_us in self._running.values()):
            return True
        return bool(self._shown) and now - self._shown[-1].capture_us > self._max_age_us

    def _on_screen(self, at_us: int) -> Tracks | None:
        """What was there at a moment shortly past."""
        known = [output for output in self._shown if output.emit_us <= at_us]
        return self.moved(known[-1], at_us).tracks if known else None

    @property
    def num_workers(self) -> int:
        """That may work at once. ConfigError if there is one for every frame, as there can be in virtual time only."""
        if self._num_workers == INFINITE:
            raise ConfigError('num_workers="infinite" is for simulation; give a number')
        return self._num_workers

    @property
    def deadline_us(self) -> int | None:
        """When what is shown, or about to be, will be too old; None if no frame waits."""
        return None if self._waiting is None else self._screen_us + self._max_age_us

    @property
    def is_idle(self) -> bool:
        """No frame waits or is worked on."""
        return self._waiting is None and not self._running

    def check(self) -> None:
        """Every frame is somewhere."""
        open_frames = len(self._running) + (self._waiting is not None)
        assert self.num_submitted == self.num_outputs + self.drops.total() + open_frames


def _sooner(one: int | None, other: int | None) -> Wait:
    return Wait(min([at for at in (one, other) if at is not None], default=None))
