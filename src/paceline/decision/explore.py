"""When to try what was never measured, or not for long: on a budget, and the same way every time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, final

from paceline.decision.goodput import Option
from paceline.errors import ConfigError

T = TypeVar("T")


@dataclass(slots=True)
class _Trial:
    due: int  # in ordinary steps
    interval: int


@final
class Explorer(Generic[T]):
    """Spends a share of the time on trials of options that might be better than they look.

    Every ordinary step earns ``budget`` of its seconds; a trial needs a balance above 0 and pays
    what it cost more than the ordinary step would have. A value that was tried waits ``first_interval`` ordinary
    steps, twice as long after each further trial that gained nothing, up to ``max_interval``.
    Nothing is random: equal histories explore alike. Values must be hashable.

    >>> explorer = Explorer[int](budget=0.01)
    >>> optimistic = [Option(0, 8.0, 0.010), Option(4, 40.0, 0.020)]
    >>> explorer.pick(optimistic, to_beat=800.0) is None     # nothing earned yet
    True
    >>> explorer.earn(0.010)
    >>> explorer.pick(optimistic, to_beat=800.0)
    4
    >>> explorer.pay(4, extra_s=0.005, gained=False)
    >>> explorer.pick(optimistic, to_beat=800.0) is None     # first earn it back
    True
    """

    def __init__(self, *, budget: float = 0.01, first_interval: int = 64, max_interval: int = 1024) -> None:
        if not 0.0 <= budget <= 1.0:
            raise ConfigError(f"budget must be in [0, 1], got {budget}")
        if not 1 <= first_interval <= max_interval:
            raise ConfigError(f"intervals must satisfy 1 <= first <= max, got {first_interval} and {max_interval}")
        self._budget = budget
        self._first_interval = first_interval
        self._max_interval = max_interval
        self._num_steps = 0
        self._trials: dict[T, _Trial] = {}
        self.balance_s = 0.0
        self.spent_s = 0.0

    def earn(self, seconds: float, num_steps: int = 1) -> None:
        """``num_steps`` ordinary steps took ``seconds`` each. Savings stop growing at what ``max_interval`` of them earn."""
        self._num_steps += num_steps
        earned_s = self._budget * seconds
        most_s = earned_s * self._max_interval
        self.balance_s = max(self.balance_s, min(self.balance_s + num_steps * earned_s, most_s))

    def pick(self, options: Sequence[Option[T]], to_beat: float) -> T | None:
        """The value to try now, longest overdue first, or None.

        ``options`` describe the values at their most hopeful (upper bounds of work, lower bounds of seconds);
        one that could not beat the goodput ``to_beat`` even so is not tried. Infinite seconds
        (``UNKNOWN``) mean that nobody knows: reason enough.
        """
        if self.balance_s <= 0.0:
            return None
        hopeful = [option for option in options if option.goodput > to_beat or option.seconds == math.inf]
        due = [option for option in hopeful if self._due(option.value) <= self._num_steps]
        return min(due, key=lambda option: self._due(option.value)).value if due else None

    def pay(self, value: T, extra_s: float, *, gained: bool) -> None:
        """A trial of ``value`` took ``extra_s`` more than the ordinary step; ``gained``: it proved better."""
        extra_s = max(0.0, extra_s)
        self.balance_s -= extra_s
        self.spent_s += extra_s
        trial = self._trials.get(value)
        interval = self._first_interval
        if trial is not None and not gained:
            interval = min(2 * trial.interval, self._max_interval)
        self._trials[value] = _Trial(self._num_steps + interval, interval)

    def reset(self) -> None:
        """The load or the kind of traffic has changed: every value may be tried anew. The budget stays."""
        self._trials.clear()

    def _due(self, value: T) -> int:
        trial = self._trials.get(value)
        return -1 if trial is None else trial.due
