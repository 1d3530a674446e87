"""Which output is on the screen at each moment of the truth. Pure.

Two protocols are known. *octopus* (Octopus, ECCV 2022, as its authors' code scores): an output counts from the frame on which it ends, the
newest capture wins, frames until the first output and the first three are left out. *sap* ("Towards Streaming Perception", ECCV 2020):
the latest emission wins, and frames before it are misses. For one worker both choose the same outputs after start-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.streaming.frame import Ints

NONE: Final = -1
LEFT_OUT: Final = 3  # frames that "ignore3" leaves out, so that slow starters have no disadvantage


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """A protocol. ``rounding`` (octopus): an output ends on the first frame after its emission, or on the nearest. ``eta`` (sap):
    frames are asked for this share of an interval before their time. ``startup``: what is done with frames before the first output.
    """

    rule: Literal["octopus", "sap"] = "octopus"
    rounding: Literal["ceil", "round"] = "ceil"
    eta: float = 0.0
    startup: Literal["ignore3", "miss"] = "ignore3"

    def __post_init__(self) -> None:
        _require("rule", self.rule, ("octopus", "sap"))
        _require("rounding", self.rounding, ("ceil", "round"))
        _require("startup", self.startup, ("ignore3", "miss"))
        if not 0 <= self.eta <= 1:
            raise ConfigError(f"eta must be in 0..1, got {self.eta}")

    def choose(self, capture_us: Ints, emit_us: Ints, times_us: Ints) -> Ints:
        """Of N outputs in any order the one that is shown at each time of the truth, or -1.  # [N], [N], [F] -> [F]

        >>> Association().choose(np.array([0, 100]), np.array([160, 320]), np.arange(6) * 100)
        array([-1, -1,  0,  0,  1,  1])
        """
        assert len(capture_us) == len(emit_us)
        if not len(emit_us):
            return np.full(len(times_us), NONE)
        order = np.argsort(emit_us, kind="stable")  # of two at once the later in line wins
        if self.rule == "sap":
            asked = times_us - np.rint(self.eta * _gaps_before(times_us)).astype(np.int64)
            best = order
        else:
            asked = times_us if self.rounding == "ceil" else _half_after(times_us)
            best = order[_newest(capture_us[order])]
        count = np.searchsorted(emit_us[order], asked, side="right")
        return np.where(count > 0, best[np.maximum(count, 1) - 1], NONE)

    def counted(self, present: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which frames are judged, given on which an output had been made.  # [F] -> [F]"""
        if self.startup == "miss":
            return np.ones(len(present), bool)
        started: NDArray[np.bool_] = np.logical_or.accumulate(present)
        started[:LEFT_OUT] = False
        return started


def _newest(capture_us: Ints) -> Ints:
    """For each place the place of the newest capture up to there; of two equal ones the later.  # [N] -> [N]"""
    by_capture = np.argsort(capture_us, kind="stable")
    rank = np.empty_like(by_capture)
    rank[by_capture] = np.arange(len(by_capture))
    return by_capture[np.maximum.accumulate(rank)]


def _gaps_before(times_us: Ints) -> Ints:
    """The interval that ends at each time; the first is like the second.  # [F] -> [F]"""
    gaps = np.diff(times_us)
    return np.concatenate((gaps[:1], gaps)) if len(gaps) else np.zeros(len(times_us), np.int64)


def _half_after(times_us: Ints) -> Ints:
    """The last moment that is nearer to each time than to the next; the last interval is like the one before.  # [F] -> [F]"""
    gaps = np.diff(times_us)
    after = np.concatenate((gaps, gaps[-1:])) if len(gaps) else np.ones(len(times_us), np.int64)
    return times_us + (after - 1) // 2


def _require(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"unknown {option} {value!r}; known: {', '.join(known)}")


OCTOPUS: Final = Association()
SAP: Final = Association(rule="sap", startup="miss")
