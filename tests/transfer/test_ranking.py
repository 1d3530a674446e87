from __future__ import annotations

from pathlib import Path

import pytest

from paceline.errors import ModelError
from paceline.transfer.ranking import Channel, Ranking, ScoredChannel

RANKING = Ranking(criterion="taylor", scores={"conv1": (0.5, 0.1), "layer1.0.conv1": (0.9, 0.5, 0.0)}, num_pictures=7)


def test_channels_are_ordered_by_score_and_equals_by_place() -> None:
    assert [(unit, number) for (unit, number), _ in RANKING.ordered()] == [
        ("layer1.0.conv1", 0),
        ("conv1", 0),
        ("layer1.0.conv1", 1),
        ("conv1", 1),
        ("layer1.0.conv1", 2),
    ]
    assert RANKING.top(1) == [ScoredChannel(Channel("layer1.0.conv1", 0), 0.9)]
    assert RANKING.bottom(2) == RANKING.ordered()[::-1][:2]
    assert len(RANKING) == 5


def test_some_units_can_be_looked_at_alone() -> None:
    assert RANKING.within({"conv1", "layer9"}).scores == {"conv1": (0.5, 0.1)}


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    RANKING.save(tmp_path / "ranking.json")
    assert Ranking.load(tmp_path / "ranking.json") == RANKING
    assert list(Ranking.load(tmp_path / "ranking.json").scores) == list(RANKING.scores)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"criterion": "taylor"}',
        '{"criterion": "taylor", "scores": {"conv1": ["x"]}, "num_pictures": 1}',
        '{"criterion": "taylor", "scores": {"conv1": [-1.0]}, "num_pictures": 1}',
        '{"criterion": "taylor", "scores": {"conv1": [1e999]}, "num_pictures": 1}',
    ],
)
def test_a_file_that_is_no_ranking_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "ranking.json").write_text(text)
    with pytest.raises(ModelError, match=r"ranking\.json"):
        Ranking.load(tmp_path / "ranking.json")
    with pytest.raises(ModelError, match=r"absent\.json"):
        Ranking.load(tmp_path / "absent.json")
