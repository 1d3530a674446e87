"""EXPLAIN and ANALYZE: the plan, why it is so, and what every call will cost or has cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from paceline.decision import CostModel
from paceline.sql.plan import Plan
from paceline.sql.render import outline
from paceline.sql.report import CallReport

_ORDERS = ("as is", "sorted", "planned", "bound")


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a query would ask. ``str`` gives it as text for people.

    The range of costs goes from half of the rows passing each filter and answers of usual length to all rows passing
    and answers as long as they may be.
    """

    plan: Plan
    reasons: tuple[str, ...]  # what the rules did
    calls: tuple[CallReport, ...]
    dialect: str
    seconds: float | None = None  # predicted from what earlier queries took; None: nothing was asked yet
    is_analyzed: bool = False  # the query ran: counts are what happened

    @property
    def cost(self) -> tuple[float, float] | None:
        """Least and most to expect; None if a price is not known."""
        ranges = [_cost(call) for call in self.calls]
        known = [one for one in ranges if one is not None]
        if len(known) < len(ranges):
            return None
        return sum(low for low, _ in known), sum(high for _, high in known)

    @property
    def num_requests(self) -> int:
        """Requests at most."""
        return sum(call.num_planned for call in self.calls)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield "plan, last step first"
        for name, node in self.plan.named:
            yield f"  {name}:"
            yield from (f"    {line}" for line in outline(node, self.dialect))
        yield from (f"  {line}" for line in outline(self.plan.root, self.dialect))
        if self.reasons:
            yield "why"
            yield from (f"  {reason}" for reason in self.reasons)
        yield "calls, in the order in which they are made"
        for number, call in enumerate(self.calls, 1):
            yield f"  {number}. {call.call} by {call.model}"
            yield from (f"     {line}" for line in _call_lines(call, self.is_analyzed))
        yield from self._totals()

    def _totals(self) -> Iterator[str]:
        if self.is_analyzed:
            spent = [call.cost for call in self.calls]
            money = "" if None in spent else f", cost {sum(one or 0.0 for one in spent):.4f}"
            seconds = sum(call.seconds for call in self.calls)
            yield f"in all: {sum(call.num_sent for call in self.calls)} requests, {seconds:.1f} s{money}"
            return
        cost = "unknown (no price for the model)" if self.cost is None else "{:.4f} to {:.4f}".format(*self.cost)
        time_ = "unknown until something was asked" if self.seconds is None else f"about {self.seconds:.1f} s"
        yield f"in all: up to {self.num_requests} requests, cost {cost}, time {time_}"


def predicted_seconds(calls: Iterable[CallReport], speed: CostModel | None) -> float | None:
    """By a model that learned from what earlier calls took; None if there is nothing to go by."""
    if speed is None:
        return None
    return sum(speed.predict(call.expected.features).mean_s for call in calls if call.num_planned)


def _cost(call: CallReport) -> tuple[float, float] | None:
    if call.price is None:
        return None
    most = call.price.cost(round(call.planned_tokens), 0, call.max_output_tokens)
    return call.reached * call.price.cost(*call.expected_tokens), most


def _call_lines(call: CallReport, is_analyzed: bool) -> Iterator[str]:
    stored = f", {call.num_stored} of them in the store" if call.num_stored else ""
    yield f"{call.num_rows} rows, {call.num_distinct} distinct requests{stored}, {call.num_planned} to send"
    if call.num_planned:
        yield f"{call.static_tokens:.0f} static and {call.data_tokens:.0f} data tokens; {_shares(call)}"
    if call.is_too_short and call.price:
        yield f"prompts are too short for the provider's cache, which begins at {call.price.minimum} tokens: expect no hits"
    if is_analyzed:
        actual = f"{call.cached_tokens / call.prompt_tokens:.1%}" if call.prompt_tokens else "none"
        yield (
            f"sent {call.num_sent}: {call.prompt_tokens} prompt tokens, {actual} cached, {call.output_tokens} decoded, "
            f"{call.seconds:.1f} s"
        )
        if call.failed:
            yield f"{call.num_errors} rows failed, the first: {next(iter(call.failed.values()))}"
    elif call.reached < 1.0:
        yield f"about {call.reached:.0%} of the rows are expected to come this far"


def _shares(call: CallReport) -> str:
    total = max(1.0, call.planned_tokens)
    shares = [f"{name} {call.hits[name] / total:.1%}" for name in _ORDERS if name in call.hits]
    by = f" ({call.planner})" if call.planner else ""
    return f"predicted hits: {', '.join(shares)}{by}" if shares else "no prefix in common but the question"
