"""One rendered drive: its truth at once, its pictures when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from paceline.errors import ConfigError
from paceline.streaming.frame import Frame, Log, Size, Truth
from paceline.streaming.render.camera import NOMINAL
from paceline.streaming.render.ego import BASE_HZ, drive
from paceline.streaming.render.population import populate
from paceline.streaming.render.regime import REGIMES, regime_of
from paceline.streaming.render.route import lay
from paceline.streaming.render.truth import truths

if TYPE_CHECKING:
    from paceline.streaming.render.paint.painter import Painter

LIGHTS: Final = {"day": 0.825, "dusk": 0.095, "night": 0.08}
RAINY: Final = 0.08
CHANGES: Final = 0.45  # chance that a regime is followed by another
CHUNK: Final = 256  # frames whose truth is made at once
PATIENCE_S: Final = 1.0  # a box is drawn through hiding this short
FULLER: Final = 1.2  # deviation of the logarithm of how full a log is, upwards
EMPTIER: Final = 2.1  # and downwards


class Drive:
    """A drive made from a seed. The same seed at 10 and at 30 Hz is the same drive.

    ``regimes`` names what it leads through (drawn, if empty), ``light`` is "day", "dusk" or "night" (drawn, if ""); ``size`` is that of
    pictures and boxes; ``jpeg_quality`` (1 to 95) sends every picture through a camera's compression.

    >>> drive = Drive(seed=3, duration_s=2.0)
    >>> len(drive.log.truths), drive.log.size
    (20, (1280, 720))
    """

    def __init__(
        self,
        *,
        seed: int,
        duration_s: float = 20.0,
        rate_hz: int = 10,
        regimes: Sequence[str] = (),
        light: str = "",
        size: Size = NOMINAL,
        jpeg_quality: int | None = None,
    ) -> None:
        if rate_hz not in (10, 15, 30):
            raise ConfigError(f"rate_hz is {rate_hz}; known: 10, 15, 30")
        if light not in ("", *LIGHTS):
            raise ConfigError(f"unknown light {light!r}; known: {sorted(LIGHTS)}")
        rng = np.random.default_rng([0x5CE7E, seed])
        names = [regime_of(name).name for name in regimes] or _draw(rng)
        self.seed, self.size, self.regimes = seed, size, tuple(names)
        self.light = light or _light(rng, names)
        self.rain = bool(rng.random() < RAINY) or any(REGIMES[name].rain for name in names)
        self.route = lay(rng, names, duration_s)
        self.ego = drive(rng, self.route, duration_s)
        density = _density(rng)
        self.actors = populate(rng, self.route, self.ego, density)
        self.steps = np.arange(round(duration_s * rate_hz)) * (BASE_HZ // rate_hz)
        self.rate_hz, self.jpeg_quality = rate_hz, jpeg_quality

    @cached_property
    def log(self) -> Log:
        """Truth and speed of all frames; takes no pixel."""
        found: list[Truth] = []
        patience = round(PATIENCE_S * self.rate_hz)
        for start in range(0, len(self.steps), CHUNK):
            before = min(start, patience)
            steps = self.steps[start - before : start + CHUNK + patience]
            found += truths(self.route, self.ego, self.actors, steps, patience)[before : before + CHUNK]
        scale = np.tile(np.divide(self.size, NOMINAL), 2)
        return Log(
            name=f"{self.regimes[0].replace(' ', '-')}-{self.seed}",
            size=self.size,
            times_us=np.rint(np.arange(len(self.steps)) * 1e6 / self.rate_hz).astype(np.int64),
            truths=tuple(found) if self.size == NOMINAL else tuple(_scaled(truth, scale) for truth in found),
            ego_speed=self.ego.speed[self.steps],
            tags=(*self.regimes, self.light, *(("rain",) if self.rain else ())),
        )

    @cached_property
    def _painter(self) -> Painter:
        from paceline.streaming.render.paint.painter import Painter  # Pillow is needed for pixels only

        return Painter(self.route, self.ego, self.actors, self.seed, self.light, self.rain, self.size)

    def frame(self, index: int) -> Frame:
        """One picture with its pixels."""
        capture_us = round(index * 1e6 / self.rate_hz)
        return Frame(index, capture_us, self.size, self._painter.paint(int(self.steps[index]), self.jpeg_quality))

    def frames(self) -> Iterator[Frame]:
        return (self.frame(index) for index in range(len(self.steps)))


def _draw(rng: np.random.Generator) -> list[str]:
    names = list(REGIMES)
    shares = np.array([REGIMES[name].share for name in names])
    result = [str(rng.choice(names, p=shares / shares.sum()))]
    while len(result) < 3 and rng.random() < CHANGES:
        others = [name for name in names if name != result[-1] and not REGIMES[name].light]
        result.append(str(rng.choice(others)))
    return result


def _density(rng: np.random.Generator) -> float:
    away = rng.normal()
    return float(np.clip(np.exp(-0.25 + away * (FULLER if away > 0 else EMPTIER)), 0.01, 8.0))


def _light(rng: np.random.Generator, names: Sequence[str]) -> str:
    forced = [REGIMES[name].light for name in names if REGIMES[name].light]
    return forced[0] if forced else str(rng.choice(list(LIGHTS), p=list(LIGHTS.values())))


def _scaled(truth: Truth, scale: np.ndarray) -> Truth:
    return Truth(truth.boxes * scale, truth.ids, truth.classes, truth.visible, truth.ignored)
