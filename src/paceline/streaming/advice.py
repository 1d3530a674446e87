"""What a policy has learned, as arrays: the predicted gain of every configuration over the static one, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from paceline.errors import ModelError
from paceline.streaming.features import NAMES
from paceline.streaming.forest import Forest
from paceline.streaming.frame import Floats

STRANGE: Final = 0.1  # share of features outside what was learned from, beyond which a scene counts as unlike it
_HEADER: Final = ("names", "static", "traits", "low", "high", "doubt", "exposure", "switch_cost", "slope", "features")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Advice:
    """Of C configurations. ``forest`` predicts C gains in MOTA and C agreements from a row of `select.context`."""

    names: tuple[str, ...]  # C
    static: str
    traits: Floats  # [C, 2]: seconds of the detector, seconds a track lives unseen
    forest: Forest
    low: Floats  # [row]
    high: Floats  # [row]
    doubt: Floats  # [C], by which a predicted gain must exceed 0
    exposure: Floats  # [C], mean of 1 - agreement
    switch_cost: float = 0.0
    slope: float = 0.0  # MOTA for each unit of exposure and surprise

    @property
    def usual_agreement(self) -> float:
        return 1 - float(self.exposure[self.names.index(self.static)])

    def __call__(self, row: Floats) -> tuple[Floats, Floats]:
        """Gains and agreements of the window to come.  # [row] -> [C], [C]"""
        predicted = self.forest(row[None])[0]
        return predicted[: len(self.names)], predicted[len(self.names) :]

    def is_strange(self, row: Floats) -> bool:
        """Whether the scene is unlike all that was learned from."""
        return bool(((row < self.low) | (row > self.high)).mean() > STRANGE)

    def correction(self, surprise: float) -> Floats:
        """Where boxes fit worse than expected, those who show older boxes lose more.  # [C]"""
        exposed = self.exposure - self.exposure[self.names.index(self.static)]
        return np.asarray(self.slope * surprise * exposed)

    def save(self, path: Path) -> None:
        """One ``npz`` file with a JSON header."""
        self.forest.save(
            path,
            {
                "names": list(self.names),
                "static": self.static,
                "features": list(NAMES),
                "switch_cost": self.switch_cost,
                "slope": self.slope,
                **{name: getattr(self, name).tolist() for name in ("traits", "low", "high", "doubt", "exposure")},
            },
        )

    @classmethod
    def load(cls, path: Path) -> Advice:
        """What `save` wrote; ModelError where it does not fit together or was learned from other features."""
        forest, header = Forest.load(path)
        missing = [name for name in _HEADER if name not in header]
        if missing:
            raise ModelError(f"{path}: no learned policy (missing: {', '.join(missing)})")
        if tuple(header["features"]) != NAMES:
            raise ModelError(f"{path}: was learned from other features than this version has; fit it anew")
        try:
            advice = cls(
                names=tuple(header["names"]),
                static=header["static"],
                forest=forest,
                switch_cost=float(header["switch_cost"]),
                slope=float(header["slope"]),
                **{name: np.asarray(header[name], float) for name in ("traits", "low", "high", "doubt", "exposure")},
            )
        except (TypeError, ValueError) as error:
            raise ModelError(f"{path}: {error}") from None
        problem = _problem(advice)
        if problem:
            raise ModelError(f"{path}: {problem}")
        return advice


def _problem(advice: Advice) -> str | None:
    count, width = len(advice.names), advice.forest.num_features
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "traits": (advice.traits, (count, 2)),
        "low": (advice.low, (width,)),
        "high": (advice.high, (width,)),
        "doubt": (advice.doubt, (count,)),
        "exposure": (advice.exposure, (count,)),
        "outputs": (advice.forest.base, (2 * count,)),
    }
    for name, (values, shape) in shapes.items():
        if values.shape != shape:
            return f"{name} has the shape {values.shape}, not {shape}"
    if width != len(NAMES) + 3:
        return f"rows of {width} numbers, not {len(NAMES) + 3}"
    return None if advice.static in advice.names else f"static configuration {advice.static!r} is not among the names"
