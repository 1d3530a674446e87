"""Rows of the table of configurations, and what may stand in it."""

from __future__ import annotations

import math

import pytest

from paceline.errors import ConfigError
from paceline.streaming.configuration import Configuration, by_name, grid


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": ""}, "name"),
        ({"detector": ""}, "detector"),
        ({"max_age_s": -0.1}, "max_age_s .* got -0.1"),
        ({"max_age_s": math.nan}, "max_age_s"),
        ({"min_score": 1.5}, "min_score .* got 1.5"),
        ({"match_iou": math.nan}, "match_iou"),
    ],
)
def test_a_wrong_value_is_named(wrong: dict[str, object], said: str) -> None:
    values = {"name": "a", "detector": "d", "max_age_s": 0.3} | wrong
    with pytest.raises(ConfigError, match=said):
        Configuration(**values)  # type: ignore[arg-type]


def test_a_table_needs_rows_of_different_names() -> None:
    one = Configuration(name="a", detector="d", max_age_s=0.3)
    assert by_name([one]) == {"a": one}
    with pytest.raises(ConfigError, match="'a' is given twice"):
        by_name([one, one])
    with pytest.raises(ConfigError, match="at least one"):
        by_name([])


def test_one_tracker_keeps_the_tracks_of_all() -> None:
    both = [Configuration(name=name, detector="d", max_age_s=0.3, tracker=name) for name in ("sort", "byte")]
    with pytest.raises(ConfigError, match="byte, sort"):
        by_name(both)


def test_a_grid_has_every_detector_with_every_age() -> None:
    made = by_name(grid(("d3", "d4"), (0.1, 0.3, 0.7), forecast=True))
    assert len(made) == 6
    assert made["d4-0.7s"] == Configuration(name="d4-0.7s", detector="d4", max_age_s=0.7, forecast=True)
