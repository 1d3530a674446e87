from __future__ import annotations

from xml.etree import ElementTree

import pytest

from paceline.transfer.report.charts import Axis, Line, histogram, line_chart


def test_a_chart_is_well_formed_and_keeps_its_points_inside() -> None:
    chart = line_chart(
        [Line("a <b>", [(0, 0.2), (1, 0.9)]), Line("c", [(0.5, float("nan")), (0.7, 0.4)], 2, dashed=True)],
        Axis("x & y"),
        Axis("share", percent=True),
    )
    root = ElementTree.fromstring(chart)
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in root.iter("circle")]
    assert len(dots) == 3  # what is no number is left out
    assert all(0 <= x <= 440 and 0 <= y <= 250 for x, y in dots)
    assert "a <b>" in "".join(root.itertext())


@pytest.mark.parametrize("points", [[], [(1, 0.5)], [(1, 0.0), (2, 0.0)], [(3, 7.0), (3, 7.0)]])
def test_few_or_equal_points_can_be_drawn(points: list[tuple[float, float]]) -> None:
    ElementTree.fromstring(line_chart([Line("a", points)], Axis("x"), Axis("y")))


def test_a_histogram_counts_every_value() -> None:
    root = ElementTree.fromstring(histogram([0.5, 1.0, 1.0, 9.0, -9.0], 0.0, 2.0, 1.0))
    bars = list(root.iter("rect"))
    assert len(bars) == 4  # two ends, 0.5, and both 1.0
    assert max(float(bar.get("height")) for bar in bars) == 64.0
