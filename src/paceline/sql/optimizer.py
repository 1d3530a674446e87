"""The policy: which LLM predicate to ask next, how many rows first, and when a few more rows are enough.

Predicates are put in the order of rows removed per predicted second, which is the cheapest order for independent
predicates (Hellerstein 1994: rank by (selectivity - 1) / cost). Selectivities come from a pilot and every later row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, final

from paceline.decision import Option, Rate, best
from paceline.sql.load import RequestLoad

PILOT_ROWS: Final = 100  # 50 to 200 tell selectivities of 0.1 and 0.8 apart; their answers are kept
PILOT_SHARE: Final = 0.2  # of the rows at most: with few rows any order is cheap
_SPARE: Final = 1.2  # rows asked beyond what the selectivity says are needed, so that one chunk is mostly enough
_DECODE_WEIGHT: Final = 20.0  # a decoded token takes as long as so many prefilled ones, until seconds are known


@final
class FilterOrder:
    """What is known of the predicates of one ``AskFilter``.

    >>> policy = FilterOrder(2)
    >>> policy.observe(0, num_passed=8, num_rows=10); policy.observe(1, num_passed=1, num_rows=10)
    >>> load = RequestLoad(1, 100.0, 0.0, 2.0)
    >>> policy.sequence([load, load])
    [1, 0]
    """

    def __init__(self, num_predicates: int) -> None:
        self._rates = [Rate(prior=(0.5, 0.5), decay=1.0) for _ in range(num_predicates)]

    def observe(self, predicate: int, num_passed: int, num_rows: int) -> None:
        """``num_passed`` of the ``num_rows`` that were asked passed."""
        if num_rows:
            self._rates[predicate].observe(float(num_passed), float(num_rows))

    def selectivity(self, predicate: int) -> float:
        return self._rates[predicate].mean

    @property
    def all_pass(self) -> float:
        """The share of rows for which all predicates hold, were they independent."""
        return math.prod(rate.mean for rate in self._rates)

    def sequence(self, loads: Sequence[RequestLoad]) -> list[int]:
        """Numbers of the predicates, the one that removes most rows per second first; ``loads`` is of one row each."""
        left = [
            Option(number, 1.0 - self.selectivity(number), relative_seconds(load)) for number, load in enumerate(loads)
        ]
        chosen = []
        while left:
            choice = best(left).option
            chosen.append(choice.value)
            left.remove(choice)
        return chosen

    def pilot_rows(self, num_rows: int) -> int:
        """Rows to ask of every predicate before an order is chosen; 0 where there is nothing to choose."""
        return min(PILOT_ROWS, int(PILOT_SHARE * num_rows)) if len(self._rates) > 1 else 0

    def chunk_rows(self, missing: int) -> int:
        """Rows to look at next when ``missing`` more must pass."""
        return max(missing, math.ceil(_SPARE * missing / max(self.all_pass, 1e-3)))


def relative_seconds(load: RequestLoad) -> float:
    """Seconds in units of one prefilled token; the unit cancels where predicates of one model are compared."""
    requests, prefilled, cached, decoded = load.features
    return max(requests, prefilled + 0.01 * cached + _DECODE_WEIGHT * decoded)
