"""Which option does the most useful work per predicted second, and still meets its deadline?

Read in this order: ``goodput`` (the sentence itself), ``cost`` (what a prediction is), ``table``,
``linear`` and ``calibrate`` (three that learn), ``rates`` (online shares and averages),
``explore`` (when to try what was never measured).
"""

from paceline.decision.calibrate import Calibrated
from paceline.decision.cost import COST_MODELS, UNKNOWN, Axes, CostModel, Estimate
from paceline.decision.explore import Explorer
from paceline.decision.goodput import Choice, Option, Steady, best
from paceline.decision.linear import Linear
from paceline.decision.rates import Average, Rate, Rates
from paceline.decision.table import Table

__all__ = [
    "COST_MODELS",
    "UNKNOWN",
    "Average",
    "Axes",
    "Calibrated",
    "Choice",
    "CostModel",
    "Estimate",
    "Explorer",
    "Linear",
    "Option",
    "Rate",
    "Rates",
    "Steady",
    "Table",
    "best",
]
