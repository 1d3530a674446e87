"""The road: sections, junctions, turns."""

from __future__ import annotations

import numpy as np
import pytest

from paceline.errors import ConfigError
from paceline.streaming.render.regime import REGIMES, regime_of
from paceline.streaming.render.route import HALF_JUNCTION, Route, lay


def route(*names: str, seed: int = 0) -> Route:
    return lay(np.random.default_rng(seed), names, 20.0)


@pytest.mark.parametrize("name", REGIMES)
def test_is_long_enough_for_the_fastest(name: str) -> None:
    found = route(name)
    assert found.grid[-1] > REGIMES[name].speed[1] * 20.0 + 200


def test_steps_along_the_road_are_a_metre_long() -> None:
    found = route("turning")
    steps = np.hypot(np.diff(found.x), np.diff(found.z))
    np.testing.assert_allclose(steps, 1.0, atol=1e-9)


def test_a_turn_is_a_quarter_circle() -> None:
    found = route("turning", seed=1)
    place = int(np.flatnonzero(found.turns)[0])
    before, after = found.junctions[place] + np.array([-16.0, 16.0])
    change = np.interp(after, found.grid, found.heading) - np.interp(before, found.grid, found.heading)
    assert change == pytest.approx(found.turns[place] * np.pi / 2, abs=0.35)  # the road bends beside


def test_what_lies_to_the_right_lies_to_the_right() -> None:
    found = route("highway")
    s = np.array([40.0])
    x, z, heading = found.place(s, np.array([0.0]))
    right_x, right_z, _ = found.place(s, np.array([3.0]))
    assert np.hypot(right_x - x, right_z - z) == pytest.approx(3.0)
    assert (right_x - x) * np.cos(heading) - (right_z - z) * np.sin(heading) == pytest.approx(3.0)


def test_junctions_have_no_houses() -> None:
    found = route("downtown")
    middle = found.junctions[:1]
    assert found.in_junction(middle)[0].all()
    assert found.setbacks(middle)[0] > 1e5
    assert found.setbacks(middle + HALF_JUNCTION + 8)[0] == REGIMES["downtown"].setback


def test_sections_follow_each_other() -> None:
    found = route("suburb", "highway")
    assert [int(found.section(np.array([s]))[0]) for s in (0.0, found.borders[0] + 1, 1e6)] == [0, 1, 1]


def test_an_unknown_regime_is_named_with_the_known() -> None:
    with pytest.raises(ConfigError, match=r"'moon'.*'highway'"):
        regime_of("moon")
