"""What a cost model is: features of a step in, seconds out, corrected by what the step took."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from paceline.registry import Registry

Axes: TypeAlias = Sequence[Sequence[float]]
"""Per feature, in order, the values at which it is profiled."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted duration of one step.

    ``std_s`` is the spread of a single step around the mean. ``num_observations`` counts the
    measurements that stand behind this very estimate; 0 marks a guess beyond what was measured.
    """

    mean_s: float
    std_s: float
    num_observations: int

    def scaled(self, ratio: float) -> Estimate:
        return Estimate(self.mean_s * ratio, self.std_s * ratio, self.num_observations)


UNKNOWN = Estimate(math.inf, math.inf, 0)
"""Nothing was measured that would tell: no option with it can be the best, only be explored."""


class CostModel(Protocol):
    """Predicts the seconds of a step and learns from every step that ran.

    Callers leave out steps that tell nothing about the next one: first uses, compilation,
    garbage collection, preemption.
    """

    def predict(self, features: Sequence[float]) -> Estimate:
        """The duration to expect; ``UNKNOWN`` if there is nothing to go by."""
        ...

    def observe(self, features: Sequence[float], seconds: float) -> None:
        """Learns that a step with ``features`` took ``seconds``; not finite or not positive: ignored."""
        ...


COST_MODELS: Registry[Callable[[Axes], CostModel]] = Registry("cost model")
"""Cost models by name, each made from the axes of its features."""

COST_MODELS.register_lazy("table", "paceline.decision.table:Table")
COST_MODELS.register_lazy("linear", "paceline.decision.linear:linear_over")
COST_MODELS.register_lazy("calibrated", "paceline.decision.calibrate:profiled_over")


def usable(seconds: float) -> bool:
    """Whether a measured duration can be learned from."""
    return 0.0 < seconds < math.inf
