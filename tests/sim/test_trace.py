"""Arrivals survive a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.errors import ConfigError
from paceline.sim import Arrival, TraceRequest, load_arrivals, save_arrivals


def test_items_come_back_typed(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    arrivals = [Arrival(0, TraceRequest(10, 2)), Arrival(1500, TraceRequest(3, 4))]
    save_arrivals(path, arrivals)
    assert load_arrivals(path, TraceRequest) == arrivals
    save_arrivals(path, [Arrival(5, "plain")])
    assert load_arrivals(path, str) == [Arrival(5, "plain")]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    path.write_text('{"at":0,"item":"a"}\n{"at":"x","item":"b"}\n')
    with pytest.raises(ConfigError, match="line 2 is no arrival"):
        load_arrivals(path, str)
