"""The three verbs of every scheduler, and the value that means "nothing to do yet".

A driver turns this crank; a simulator turns the same one with predicted durations::

    plan = scheduler.schedule(clock.now())                 # decide: pure
    if isinstance(plan, Wait):
        inbox.wait(until=plan.until)
    else:
        result = runner.run(plan)                          # act: the only device call
        scheduler.commit(plan, result, clock.now())        # learn: pure
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

Item = TypeVar("Item", contravariant=True)
Plan = TypeVar("Plan")
Result = TypeVar("Result", contravariant=True)


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to launch before ``until`` (microseconds) or the next submission.

    ``until=None``: only a submission can change that.
    """

    until: int | None = None


class Scheduler(Protocol[Item, Plan, Result]):
    """Decides what runs next. It owns no clock and touches no device."""

    def submit(self, item: Item, now: int) -> None:
        """Takes in work that arrived at ``now``."""
        ...

    def schedule(self, now: int) -> Plan | Wait:
        """What to run now. A plan that was returned must be committed before the next call."""
        ...

    def commit(self, plan: Plan, result: Result, now: int) -> None:
        """Learns what running ``plan`` gave; it ended at ``now``."""
        ...
