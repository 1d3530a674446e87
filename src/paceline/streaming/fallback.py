"""Which configuration may run where the wanted one may not: its detector fails, hangs, or would be done too late. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, final

from paceline.clock import MICROSECONDS, to_seconds
from paceline.errors import ConfigError
from paceline.scheduling import Wait
from paceline.streaming.configuration import Configuration
from paceline.streaming.profile import Runtimes

REST_US: Final = (
    MICROSECONDS  # for which a detector that overran is passed over, and between trials where all are too slow
)
FIRST_REST_US: Final = 100_000  # after a failure; doubles with each
LONGEST_REST_US: Final = 30 * MICROSECONDS


@final
class Fallback:
    """Of one pipeline. ``max_age_us``: the age that no output may exceed."""

    def __init__(self, table: Mapping[str, Configuration], runtimes: Runtimes, max_age_us: int) -> None:
        self._table, self._runtimes, self._max_age_us = table, runtimes, max_age_us
        self._failures: Counter[str] = Counter()  # of detectors, since they last worked
        self._failing_until: dict[str, int] = {}
        self._slow_until: dict[str, int] = {}
        self._next_trial = 0
        fastest = min(table.values(), key=self._typical_us)
        if self._typical_us(fastest) > max_age_us:
            raise ConfigError(
                f"max_output_age_s is {to_seconds(max_age_us):g}, but even configuration {fastest.name!r} takes "
                f"{to_seconds(self._typical_us(fastest)):.3f} s; raise it, or add a faster configuration"
            )

    def failed(self, detector: str, now: int) -> None:
        """It gave no answer: it rests, the longer the more often that happens."""
        rest_us = min(FIRST_REST_US << min(self._failures[detector], 16), LONGEST_REST_US)
        self._failures[detector] += 1
        self._failing_until[detector] = now + rest_us

    def worked(self, detector: str) -> None:
        """It gave an answer."""
        self._failures.pop(detector, None)
        self._failing_until.pop(detector, None)

    def overran(self, detector: str, now: int) -> None:
        """It takes far longer than predicted: for a while a faster one is preferred."""
        self._slow_until[detector] = now + REST_US

    def fits(self, configuration: Configuration, age_us: int) -> bool:
        """Whether it would be done in time with a picture that is so old."""
        return age_us + self._runtimes.high_us(configuration.detector) <= self._max_age_us

    def pick(self, wanted: str, delay_us: int, now: int) -> Configuration | Wait | None:
        """The wanted configuration or the nearest that may run; ``Wait`` where all detectors rest; None where none is fast enough.

        ``delay_us``: how old pictures are when they come in.
        """
        configuration = self._table[wanted]
        if not self._failing_until and not self._slow_until and self.fits(configuration, delay_us):
            return configuration
        working = [each for each in self._table.values() if self._failing_until.get(each.detector, now) <= now]
        if not working:
            return Wait(min(self._failing_until.values()))
        in_time = [each for each in working if self.fits(each, delay_us)]
        if not in_time:
            return self._trial(working, now)
        return min(
            self._calm(in_time, configuration, now) or in_time, key=lambda each: self._distance(configuration, each)
        )

    def _calm(self, among: list[Configuration], wanted: Configuration, now: int) -> list[Configuration]:
        """Those that did not overrun lately; slower ones are no help where the wanted one works."""
        limit_us = self._typical_us(wanted) if wanted in among else None
        calm = [each for each in among if self._slow_until.get(each.detector, now) <= now]
        return [each for each in calm if limit_us is None or self._typical_us(each) <= limit_us]

    def _trial(self, working: list[Configuration], now: int) -> Configuration | None:
        """Now and then the fastest, since only a run tells that things have become better."""
        if now < self._next_trial:
            return None
        self._next_trial = now + REST_US
        return min(working, key=self._typical_us)

    def _distance(self, wanted: Configuration, other: Configuration) -> tuple[bool, int, int]:
        """The next faster, then the next slower; of one detector the one that treats tracks most alike."""
        ours, theirs = self._typical_us(wanted), self._typical_us(other)
        return theirs > ours, abs(theirs - ours), wanted.num_differences(other)

    def _typical_us(self, configuration: Configuration) -> int:
        return self._runtimes.typical_us(configuration.detector)
