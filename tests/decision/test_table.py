"""Measured cells come back as they are; everything else is filled with care."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.decision import UNKNOWN, Linear, Table
from paceline.errors import ConfigError

seconds = st.floats(1e-5, 10.0)


@given(st.lists(seconds, min_size=12, max_size=12), st.floats(1.0, 64.0), st.floats(0.0, 4096.0))
def test_cells_are_exact_and_the_rest_lies_between_its_corners(cells: list[float], rows: float, context: float) -> None:
    axes = [[1.0, 8.0, 9.0, 64.0], [0.0, 1000.0, 4096.0]]
    table = Table(axes)
    points = list(itertools.product(*axes))
    for point, duration in zip(points, cells, strict=True):
        table.profile(point, [duration])
    for point, duration in zip(points, cells, strict=True):
        assert table.predict(point).mean_s == duration
    estimate = table.predict([rows, context])
    assert min(cells) * 0.999 <= estimate.mean_s <= max(cells) * 1.001
    assert estimate.num_observations == 1


@given(
    st.floats(0.0, 1.0),
    st.floats(1e-6, 1.0),
    st.floats(0.0, 1.0),
    st.floats(0.1, 1e4),
    st.floats(0.1, 1e4),
)
def test_extrapolation_never_flatters_a_line(constant: float, slope: float, other: float, x: float, y: float) -> None:
    axes = [[1.0, 10.0], [1.0, 10.0]]
    table = Table(axes)
    for point in itertools.product(*axes):
        table.profile(point, [constant + slope * point[0] + other * point[1]])
    truth = constant + slope * x + other * y
    estimate = table.predict([x, y])
    assert estimate.mean_s >= truth * 0.999
    assert (estimate.num_observations == 0) == (not (1.0 <= x <= 10.0 and 1.0 <= y <= 10.0))


def test_the_median_of_the_samples_counts() -> None:
    table = Table([[1.0]])
    table.profile([1.0], [0.010, 0.011, 0.5, 0.010, 0.010])
    assert table.predict([1.0]).mean_s == 0.010
    assert table.predict([1.0]).num_observations == 5
    for samples in ([], [-1.0]):
        with pytest.raises(ConfigError, match="positive"):
            table.profile([1.0], samples)
    with pytest.raises(ConfigError, match="not a point of the grid"):
        table.profile([1.5], [0.1])


def test_observations_move_a_cell_and_only_on_the_grid() -> None:
    table = Table([[1.0, 2.0]])
    for duration in (0.010, 0.020):
        table.observe([1.0], duration)
    table.observe([1.5], 5.0)
    assert len(table) == 1
    assert table.predict([1.0]).mean_s == pytest.approx(0.015)
    assert table.predict([1.0]).std_s == pytest.approx(0.005)
    for _ in range(1000):
        table.observe([1.0], 0.030)
    assert table.predict([1.0]).mean_s == pytest.approx(0.030, rel=1e-3)


def test_holes_are_filled_by_the_line_or_by_the_next_larger_cell() -> None:
    points = [[1.0], [4.0], [64.0]]
    line = Linear([64.0])
    for gaps, expected in ((None, 0.0114), (line, 0.0082)):
        table = Table([[1.0, 4.0, 32.0, 64.0]], gaps)
        for (rows,) in points:
            table.profile([rows], [0.005 + 1e-4 * rows])
        assert table.predict([32.0]).mean_s == pytest.approx(expected, rel=0.01)
        assert table.predict([32.0]).num_observations == 0
    assert Table([[1.0]], Linear([1.0])).predict([2.0]) == UNKNOWN


def test_monotone_raises_what_falls() -> None:
    table = Table([[1.0, 2.0, 4.0], [0.0, 1.0]])
    for rows, other, duration in ((1, 0, 0.02), (2, 0, 0.01), (4, 0, 0.03), (1, 1, 0.01), (2, 1, 0.02), (4, 1, 0.02)):
        table.profile([rows, other], [duration])
    table.monotone(axis=0)
    assert [table.predict([rows, 0]).mean_s for rows in (1, 2, 4)] == [0.02, 0.02, 0.03]
    assert [table.predict([rows, 1]).mean_s for rows in (1, 2, 4)] == [0.01, 0.02, 0.02]


def test_it_survives_a_file_and_teaches_the_gaps() -> None:
    table = Table([[1.0, 2.0], [0.0, 5.0]])
    for x, y in itertools.product([1.0, 2.0], [0.0, 5.0]):
        table.profile([x, y], [0.01 * x + 0.001 * y, 0.02 * x])
    line = Linear([2.0, 5.0])
    again = Table.from_json(table.to_json(), gaps=line)
    assert dict(again.cells()) == dict(table.cells())
    assert again.axes == table.axes
    assert line.predict([1.0, 0.0]).num_observations == 4


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"axes":[[1,2]],"cells":[[[3],0.1,0.0,1]]}',
        b'{"axes":[[1,2]],"cells":[[[1,1],0.1,0.0,1]]}',
        b'{"axes":[[1,2]],"cells":[[[1],-0.1,0.0,1]]}',
        b'{"axes":[[2,1]],"cells":[]}',
        b'{"axes":[[]],"cells":[]}',
        b"\xff\xfe",
    ],
)
def test_a_broken_file_is_a_config_error(data: bytes) -> None:
    with pytest.raises(ConfigError):
        Table.from_json(data)
