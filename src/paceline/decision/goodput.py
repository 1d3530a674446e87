"""The question every part asks: which option does the most useful work per predicted second, in time?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, final

from paceline.errors import ConfigError

T = TypeVar("T")

Reason = Literal["best", "kept", "dwell", "late"]


@dataclass(frozen=True)  # no slots: with them Python 3.11 cannot call Option[int](...)
class Option(Generic[T]):
    """One thing that could be done now.

    ``margin_s`` is added to ``seconds`` when they are held against the deadline (say 1.645
    standard deviations, for 95 % to be in time); goodput counts ``seconds`` alone.
    """

    value: T
    useful_work: float
    seconds: float
    margin_s: float = 0.0

    @property
    def goodput(self) -> float:
        """Useful work per second; 0 for a prediction that is not a number or has no end."""
        rate = self.useful_work / self.seconds if self.seconds > 0.0 else math.nan
        return rate if math.isfinite(rate) else 0.0

    def meets(self, slack_s: float) -> bool:
        return self.seconds + self.margin_s <= slack_s


@dataclass(frozen=True)
class Choice(Generic[T]):
    """What was chosen, and why.

    ``best``: most useful work per second; ``kept``: another is better, but not by enough;
    ``dwell``: chosen too recently to change; ``late``: nothing meets the deadline, this is the soonest.
    """

    option: Option[T]
    reason: Reason

    @property
    def value(self) -> T:
        return self.option.value

    @property
    def meets_deadline(self) -> bool:
        return self.reason != "late"


def best(
    options: Sequence[Option[T]],
    slack_s: float = math.inf,
    incumbent: T | None = None,
    min_gain: float = 0.03,
) -> Choice[T]:
    """The option with the most goodput among those that end within ``slack_s`` seconds.

    The ``incumbent`` (a value) stays unless another gains more than ``min_gain`` (0.03: 3 %) over it. Among equals
    the first listed wins; when nothing meets the deadline, the one that ends soonest.

    >>> options = [Option(0, 8.0, 0.010), Option(2, 17.0, 0.020), Option(4, 22.0, 0.030)]
    >>> best(options).value, best(options, slack_s=0.015).value, best(options, slack_s=0.005).reason
    (2, 0, 'late')
    >>> best(options, incumbent=0, min_gain=0.1)
    Choice(option=Option(value=0, useful_work=8.0, seconds=0.01, margin_s=0.0), reason='kept')
    """
    assert options, "no option to choose from"
    winner = holder = None
    most = held = -math.inf
    for option in options:
        if not option.meets(slack_s):
            continue
        goodput = option.goodput
        if goodput > most:
            winner, most = option, goodput
        if incumbent is not None and option.value == incumbent:
            holder, held = option, goodput
    if winner is None:
        return Choice(min(options, key=_soonest), "late")
    if holder is not None and holder is not winner and most <= held * (1.0 + min_gain):
        return Choice(holder, "kept")
    return Choice(winner, "best")


def _soonest(option: Option[T]) -> tuple[float, float]:
    end_s = option.seconds + option.margin_s
    return (math.inf if math.isnan(end_s) else end_s, -option.useful_work)


@final
class Steady(Generic[T]):
    """``best`` with a memory: keeps a value for at least ``dwell`` decisions, then wants ``min_gain`` to change it.

    A deadline that the kept value would miss ends its stay at once.

    >>> steady = Steady[str](dwell=2)
    >>> slow, quick = Option("slow", 1.0, 1.0), Option("quick", 1.0, 0.5)
    >>> [steady.choose([slow]).value, steady.choose([slow, quick]).reason, steady.choose([slow, quick]).value]
    ['slow', 'dwell', 'quick']
    """

    def __init__(self, *, min_gain: float = 0.03, dwell: int = 8) -> None:
        if min_gain < 0.0 or dwell < 1:
            raise ConfigError(f"min_gain must be >= 0 and dwell >= 1, got {min_gain} and {dwell}")
        self._min_gain = min_gain
        self._dwell = dwell
        self._age = 0  # decisions since the value was taken
        self.value: T | None = None

    def choose(self, options: Sequence[Option[T]], slack_s: float = math.inf) -> Choice[T]:
        if self.value is not None and self._age < self._dwell:
            for option in options:
                if option.value == self.value and option.meets(slack_s):
                    self._age += 1
                    return Choice(option, "dwell")
        choice = best(options, slack_s, self.value, self._min_gain)
        self._age = self._age + 1 if choice.value == self.value else 1
        self.value = choice.value
        return choice

    def forget(self) -> None:
        """The next choice starts afresh, say because the load is another."""
        self.value = None
