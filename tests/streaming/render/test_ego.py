"""How we drive, and that nobody is run into."""

from __future__ import annotations

import numpy as np
import pytest

from paceline.streaming.render.actors import BUS
from paceline.streaming.render.drive import Drive
from paceline.streaming.render.ego import BASE_HZ, COMFORT, drive, lagging
from paceline.streaming.render.regime import REGIMES
from paceline.streaming.render.route import lay


@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_goes_forward_without_jerks(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ego = drive(rng, lay(rng, [name], 20.0), 20.0)
    assert (ego.speed >= 0).all()
    assert (np.diff(ego.s) >= 0).all()
    assert np.abs(np.diff(ego.speed)).max() * BASE_HZ <= 4.0 + 1e-9
    assert ego.speed.max() <= REGIMES[name].speed[1] * (1 + REGIMES[name].swing) + 1e-9


def test_turns_are_taken_slowly() -> None:
    made = Drive(seed=1, regimes=["turning"])
    curvature = np.abs(np.interp(made.ego.s, made.route.grid, made.route.curvature))
    assert (made.ego.speed**2 * curvature).max() < 2 * COMFORT


def test_red_lights_are_waited_for() -> None:
    waits = [
        (made, wait)
        for seed in range(6)
        for made in [Drive(seed=seed, regimes=["downtown"])]
        for wait in made.ego.waits
    ]
    assert waits
    for made, wait in waits:
        standing = made.ego.speed[int(wait.from_s * BASE_HZ) + 6 : int(min(wait.to_s, 20.0) * BASE_HZ) - 1]
        assert (standing < 0.5).all()


def test_parked_stands_still() -> None:
    assert Drive(seed=0, regimes=["parked"]).ego.speed.max() == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_those_ahead_in_our_lane_stay_ahead(seed: int) -> None:
    made = Drive(seed=seed, regimes=["jam"])
    s, _ = made.actors.roads(np.arange(0, 600, 10))
    ahead = np.flatnonzero((made.actors.gaps > 0) & (made.actors.kind <= BUS))
    places = s[:, ahead] - made.ego.s[np.arange(0, 600, 10)][:, None]
    assert (np.diff(np.concatenate([np.zeros((60, 1)), places], 1), axis=1) > 4.5).all()


def test_lagging_reaches_what_it_follows() -> None:
    found = lagging(np.ones(200), 0.5)
    assert found[0] == pytest.approx(1 - np.exp(-1 / 15))
    assert found[-1] == pytest.approx(1.0, abs=1e-3)
    assert (lagging(np.ones(5), 0.5, start=1.0) == 1.0).all()
