"""The kinds of driving a log is made of: how fast, how full, how often one stops and turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from paceline.errors import ConfigError

OPEN: Final = 1e6  # a setback no ray reaches: no houses


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """One kind of driving. Speeds in m/s, lengths in m."""

    name: str
    share: float  # of logs that begin with it
    speed: tuple[float, float]  # wished, drawn once a section
    flow: float  # of oncoming traffic
    swing: float = 0.15  # of the wished speed, as a share of it: 1 and more is stop and go
    lanes: tuple[int, int]  # on our side, fewest and most
    oncoming: tuple[int, int]
    spacing: float  # between vehicles of a lane
    junction_every: float = OPEN
    stops: float = 0.0  # share of junctions where we wait
    turns: float = 0.0  # share of junctions where we turn
    bend: float = 0.0  # standard deviation of the road's curvature, 1/m
    parked: float = 0.0  # share of taken places at the kerb
    walkers: float = 0.0  # per 100 m of one pavement
    cyclists: float = 0.0  # per 100 m
    setback: float = OPEN  # of the houses behind the kerb
    light: str = ""  # "" leaves it to the log
    rain: bool = False


REGIMES: Final = {
    regime.name: regime
    for regime in (
        Regime(
            name="highway", share=0.13, speed=(17, 25), flow=24, lanes=(2, 3), oncoming=(2, 3), spacing=42, bend=1 / 900
        ),
        Regime(
            name="suburb", share=0.27, speed=(8, 14), flow=12, lanes=(1, 2), oncoming=(1, 2), spacing=60, bend=1 / 350,
            junction_every=110, stops=0.25, turns=0.08, parked=0.15, walkers=2.5, cyclists=0.4, setback=11,
        ),
        Regime(
            name="downtown", share=0.27, speed=(4.5, 8.5), flow=8, lanes=(1, 3), oncoming=(1, 2), spacing=26, bend=1 / 2500,
            junction_every=75, stops=0.4, turns=0.08, parked=0.35, walkers=14, cyclists=1.0, setback=6,
        ),
        Regime(
            name="jam", share=0.09, speed=(2, 4), flow=5, swing=1.1, lanes=(2, 3), oncoming=(2, 3), spacing=12,
            bend=1 / 1500, junction_every=150, stops=0.2, parked=0.15, walkers=5, setback=9,
        ),
        Regime(
            name="turning", share=0.15, speed=(6, 10), flow=8, lanes=(1, 2), oncoming=(1, 2), spacing=34, bend=1 / 500,
            junction_every=55, stops=0.15, turns=0.7, parked=0.25, walkers=5, cyclists=0.6, setback=8,
        ),
        Regime(
            name="night rain", share=0.06, speed=(7, 12), flow=10, lanes=(1, 2), oncoming=(1, 2), spacing=40,
            bend=1 / 600, junction_every=90, stops=0.3, turns=0.08, parked=0.25, walkers=3, setback=7,
            light="night", rain=True,
        ),
        Regime(
            name="parked", share=0.04, speed=(0, 0), flow=9, lanes=(2, 2), oncoming=(1, 2), spacing=40, bend=1 / 2000,
            junction_every=90, parked=0.35, walkers=8, cyclists=0.8, setback=7,
        ),
    )
}  # fmt: skip


def regime_of(name: str) -> Regime:
    """The regime of this name.

    >>> regime_of("jam").spacing
    12
    """
    try:
        return REGIMES[name]
    except KeyError:
        raise ConfigError(f"unknown regime {name!r}; known: {sorted(REGIMES)}") from None
