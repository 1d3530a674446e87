"""Events survive a file, and a file survives a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.errors import ConfigError
from paceline.records import Arrived, Chose, Finished, Progressed, Record, RecordWriter, Rejected, Started, read_records

ALL: list[Record] = [
    Arrived(at=0, id="a", deadline=9),
    Rejected(at=1, id="b", reason="queue full"),
    Started(at=2, id="a"),
    Chose(at=2, policy="draft length", option="3", reason="best", predicted_s=0.01, actual_s=0.011),
    Progressed(at=3, id="a", num_units=4),
    Finished(at=4, id="a", outcome="late"),
]


def test_records_come_back(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with RecordWriter(path) as writer:
        writer.write(ALL[:2])
        writer.write(ALL[2:])
        assert list(read_records(path)) == ALL
    with RecordWriter(path) as writer:
        writer.write([Started(at=9, id="c")])
    assert list(read_records(path)) == [*ALL, Started(at=9, id="c")]


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with RecordWriter(path) as writer:
        writer.write(ALL)
    path.write_bytes(path.read_bytes()[:-5])
    assert list(read_records(path)) == ALL[:-1]


@pytest.mark.parametrize("line", ["{}", "no json", '{"type":"started","at":"x","id":"a"}', '{"type":"other","at":1}'])
def test_any_other_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(f'{{"type":"started","at":1,"id":"a"}}\n{line}\n')
    with pytest.raises(ConfigError, match="line 2 is no record"):
        list(read_records(path))
