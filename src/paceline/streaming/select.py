"""Which configuration runs next: the one with the best predicted streaming accuracy for the scene as it looks now. Pure.

What is predicted is the gain over the *static* configuration, the one that was best on average: who knows nothing predicts no gain,
and stays there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.streaming.advice import Advice
from paceline.streaming.features import NAMES
from paceline.streaming.forest import Forest
from paceline.streaming.frame import Floats

_AREA: Final = NAMES.index("area_middle")
KEPT: Final = 0.6  # of the surprise so far, from one window to the next


@final
class MedianSizeRule:
    """Large boxes need no large model: the median box's area alone decides (TOD, 2021).

    >>> rule = MedianSizeRule(static="b", edges=(6.0,), names=("slow", "quick"))
    >>> rule.choose(None, "b", 0)
    'b'
    """

    def __init__(self, *, static: str, edges: Sequence[float], names: Sequence[str]) -> None:
        if len(names) != len(edges) + 1:
            raise ConfigError(
                f"{len(edges)} edges part {len(edges) + 1} ranges, but {len(names)} configurations are named"
            )
        if list(edges) != sorted(edges):
            raise ConfigError(f"edges must rise, got {list(edges)}")
        self._static, self._edges, self._names = static, tuple(edges), tuple(names)

    def choose(self, features: Floats | None, current: str, now_us: int) -> str:
        if features is None or features[_AREA] < 0:
            return self._static
        return self._names[int(np.searchsorted(self._edges, features[_AREA]))]

    def observe(self, configuration: str, agreement: float, now_us: int) -> None:
        """Nothing can be learned from it."""


@final
class ForestPolicy:
    """The highest prediction wins, as Octopus (ECCV 2022) does it: from the last window alone, without doubt and without regard to changes.

    ``forest`` predicts the gain over static from features and one column per configuration that marks which.
    """

    def __init__(self, forest: Forest, *, static: str, names: Sequence[str]) -> None:
        self._forest, self._static, self._names = forest, static, tuple(names)

    def choose(self, features: Floats | None, current: str, now_us: int) -> str:
        if features is None:
            return self._static
        return self._names[int(self._forest(marked(features, len(self._names))).argmax())]

    def observe(self, configuration: str, agreement: float, now_us: int) -> None:
        """Nothing is learned from it."""


def marked(features: Floats, count: int) -> Floats:
    """The same features once for each configuration, with a column that marks which.  # [K] -> [C, K + C]"""
    return np.concatenate((np.broadcast_to(features, (count, len(features))), np.eye(count)), axis=1)


@final
class PacelinePolicy:
    """Leaves the static configuration where a gain is predicted that holds after doubt, and changes only for more than a change costs.

    ``allowed`` names the configurations whose outputs are young enough (`within_age`); a scene unlike all that was learned from gets the
    static one, or, where that is not allowed, the quickest.
    """

    def __init__(self, advice: Advice, *, allowed: Sequence[str] | None = None) -> None:
        names = advice.names if allowed is None else tuple(allowed)
        unknown = sorted(set(names) - set(advice.names))
        if unknown or not names:
            raise ConfigError(f"allowed is {list(names)}; known configurations: {', '.join(advice.names)}")
        self._advice = advice
        self._allowed = np.array([name in names for name in advice.names])
        self._home = advice.names.index(advice.static)
        if not self._allowed[self._home]:
            quickest = np.where(self._allowed, advice.traits[:, 0], math.inf)
            self._home = int(quickest.argmin())
        self._expected: Floats | None = None  # agreement of each configuration in the window to come
        self._surprise = 0.0
        self._agreement = advice.usual_agreement

    def choose(self, features: Floats | None, current: str, now_us: int) -> str:
        advice = self._advice
        if features is None:
            return advice.names[self._home]
        running = advice.names.index(current) if current in advice.names else self._home
        row = context(features, np.array([self._agreement]), advice.traits[running])
        self._agreement = advice.usual_agreement  # until the next is heard
        gains, self._expected = advice(row)
        if advice.is_strange(row):
            return advice.names[self._home]
        gains = gains + advice.correction(self._surprise)
        return advice.names[self._decide(gains, running)]

    def observe(self, configuration: str, agreement: float, now_us: int) -> None:
        """How far agreement is from what was expected corrects the next predictions; older surprises count less and less."""
        if math.isnan(agreement):
            return
        self._agreement = agreement
        if self._expected is None or configuration not in self._advice.names:
            return
        surprise = agreement - float(self._expected[self._advice.names.index(configuration)])
        self._surprise = KEPT * self._surprise + (1 - KEPT) * surprise

    def _decide(self, gains: Floats, running: int) -> int:
        return decide(gains, running, self._home, self._allowed, self._advice.doubt, self._advice.switch_cost)


def decide(
    gains: Floats, running: int, home: int, allowed: NDArray[np.bool_], doubt: Floats, switch_cost: float
) -> int:
    """The best of those that beat ``home`` by more than their doubt; the running one stays unless another is better by ``switch_cost``.

    To stay takes half as much certainty as to come.  # [C], [C], [C]
    """
    over = gains - gains[home]
    sure = np.where(allowed & (over > doubt), over, -math.inf)
    sure[home] = 0.0
    best = int(sure.argmax())
    stays = running == home or bool(allowed[running] and over[running] > 0.5 * doubt[running])
    return running if stays and sure[best] <= over[running] + switch_cost else best


def context(features: Floats, agreement: Floats, traits: Floats) -> Floats:
    """What a prediction is made from: the last window, and the configuration that saw it.  # [..., K], [..., 1], [..., 2] -> [..., K + 3]"""
    return np.concatenate((features, agreement, traits), axis=-1)


def within_age(p99_s: Mapping[str, float], gap_s: float, cap_s: float) -> tuple[str, ...]:
    """Configurations whose output is at most ``cap_s`` old when it comes out, in 99 of 100 cases, though its frame waited a frame interval.

    >>> within_age({"quick": 0.08, "slow": 0.3}, gap_s=0.1, cap_s=0.25)
    ('quick',)
    """
    found = tuple(name for name, seconds in p99_s.items() if seconds + gap_s <= cap_s)
    if not found:
        raise ConfigError(
            f"no configuration ends within {cap_s} s; the quickest needs {min(p99_s.values(), default=math.nan):.3f} s after a wait of {gap_s} s"
        )
    return found
