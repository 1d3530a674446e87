"""What is on the screen at each frame of a log: the one input of all metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.streaming.frame import Ints, Log, Output, Tracks

Shown: TypeAlias = tuple[Tracks | None, ...]  # one entry per frame; None: there was no output yet


def show(outputs: Sequence[Output], chosen: Ints) -> Shown:
    """The boxes of the output chosen for each frame; -1 chooses none.  # [F]"""
    return tuple([outputs[place].tracks if place >= 0 else None for place in chosen.tolist()])


def present(shown: Shown) -> NDArray[np.bool_]:
    """Where there is an output, be it one without boxes.  # [F]"""
    return np.array([tracks is not None for tracks in shown], bool)


def only(shown: Shown, log: Log, kept: NDArray[np.bool_]) -> tuple[Shown, Log]:
    """The same with some frames left out."""
    require_fit(shown, log)
    places = np.flatnonzero(kept)
    part = Log(
        name=log.name,
        size=log.size,
        times_us=log.times_us[places],
        truths=tuple([log.truths[place] for place in places]),
        ego_speed=None if log.ego_speed is None else log.ego_speed[places],
        tags=log.tags,
    )
    return tuple([shown[place] for place in places]), part


def require_fit(shown: Shown, log: Log) -> None:
    if len(shown) != len(log.truths):
        raise ConfigError(f"{len(shown)} frames are shown, but log {log.name!r} has truth for {len(log.truths)}")
