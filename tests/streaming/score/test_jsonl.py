"""Outputs as text: what is written is read again; what is broken is named with its line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import InvalidRequest, ResourceError
from paceline.streaming.frame import Output, Tracks
from paceline.streaming.score.jsonl import encode, parse, read, write

GOOD = {
    "frame": 7,
    "capture_s": 0.7,
    "emit_s": 0.76,
    "boxes": [{"box": [1, 2, 3.5, 4], "id": 3, "score": 0.9, "class": "pedestrian"}],
}


def lines(*objects: object) -> list[bytes]:
    return [json.dumps(each).encode() for each in objects]


def with_box(**changes: object) -> dict[str, object]:
    return {**GOOD, "boxes": [{**GOOD["boxes"][0], **changes}]}  # type: ignore[index]


def test_a_line_of_another_system() -> None:
    (output,) = parse(lines(GOOD))
    assert (output.frame_index, output.capture_us, output.emit_us) == (7, 700_000, 760_000)
    assert (output.valid_us, output.configuration) == (700_000, "")
    assert output.tracks.boxes.tolist() == [[1.0, 2.0, 3.5, 4.0]]
    assert (output.tracks.ids.tolist(), output.tracks.classes.tolist()) == ([3], [1])
    assert output.tracks.scores.tolist() == [0.9]


def test_what_may_be_given_besides() -> None:
    line = {**with_box(**{"class": 17}), "valid_s": 0.8, "configuration": "D4", "colour": {"any": ["thing"]}}
    (output,) = parse([b"\n", *lines(line), b"  \r\n"])
    assert (output.valid_us, output.configuration, output.tracks.classes.tolist()) == (800_000, "D4", [17])


BAD = [
    (b"{", "truncated"),
    (b"not JSON at all", "malformed"),
    (b"\xff\xfe\x00", "malformed"),
    (b'{"frame": 1, "configuration": "\xff"}', "utf-8"),
    (b'{"x": ' + b"[" * 100_000, "recursion"),
    (b"[]", "Expected `object`"),
    (b"null", "Expected `object`"),
    (json.dumps(GOOD)[:-9].encode(), "truncated"),
    *[(json.dumps({**GOOD, key: value}).encode(), text) for key, value, text in [
        ("frame", -1, r"\.frame"),
        ("frame", 1.5, r"\.frame"),
        ("capture_s", None, r"\.capture_s"),
        ("emit_s", "0.1", r"\.emit_s"),
        ("emit_s", 0.69, "emit_s is 0.69, before capture_s, which is 0.7"),
        ("emit_s", 1e300, r"\.emit_s"),
        ("emit_s", float("nan"), "malformed"),
        ("boxes", [], None),
        ("boxes", {}, r"\.boxes"),
        ("boxes", [GOOD["boxes"][0]] * 2, "an id is given twice"),  # type: ignore[index]
    ] if text],
    *[(json.dumps(with_box(**{key: value})).encode(), text) for key, value, text in [
        ("box", [1, 2, 3], r"\.box"),
        ("box", [1, 2, float("nan"), 4], "malformed"),
        ("box", [1, 2, float("-inf"), 4], "malformed"),
        ("box", [3, 2, 1, 4], "inside out"),
        ("box", [1, 4, 3, 2], "inside out"),
        ("id", "a", r"\.id"),
        ("id", 2**70, r"\.id"),
        ("score", 1.1, r"\.score"),
        ("score", None, r"\.score"),
        ("class", "car", "unknown class 'car'; known: vehicle, pedestrian, cyclist"),
        ("class", -1, r"\.class"),
        ("class", True, r"\.class"),
    ]],
]  # fmt: skip


@pytest.mark.parametrize(("line", "text"), BAD)
def test_a_bad_line_is_named_with_its_number(line: bytes, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text) as caught:
        list(parse([*lines(GOOD), b"", line], "run.jsonl"))
    assert str(caught.value).startswith("run.jsonl, line 3: ")


@pytest.mark.parametrize("key", ["frame", "capture_s", "emit_s", "boxes"])
def test_a_missing_field_is_named(key: str) -> None:
    with pytest.raises(InvalidRequest, match=f"line 1: Object missing required field `{key}`"):
        list(parse(lines({name: value for name, value in GOOD.items() if name != key})))


def test_files_that_are_not_to_be_had(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"cannot read outputs from .*: No such file"):
        read(tmp_path / "none")
    with pytest.raises(ResourceError, match=r"cannot read outputs from .*: Is a directory"):
        read(tmp_path)
    with pytest.raises(ResourceError, match=r"cannot write outputs to .*: Is a directory"):
        write(tmp_path, [])


def test_an_empty_file_holds_no_outputs(tmp_path: Path) -> None:
    write(tmp_path / "empty", [])
    assert read(tmp_path / "empty") == ()


@given(seed=st.integers(0, 999), num_boxes=st.integers(0, 5), microseconds=st.integers(0, 2**52))
def test_what_is_written_is_read_again(seed: int, num_boxes: int, microseconds: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.normal(0, 1000, (num_boxes, 2))
    tracks = Tracks(
        np.hstack((corner, corner + rng.exponential(50, (num_boxes, 2)))),
        rng.permutation(100)[:num_boxes] - 50,
        rng.random(num_boxes),
        rng.integers(0, 6, num_boxes),
        rng.integers(0, 10**7, num_boxes),
        rng.choice([0.0, 2.5], num_boxes),
    )
    valid_us = microseconds + int(rng.integers(0, 2)) * 12_345
    output = Output(int(rng.integers(1000)), microseconds, microseconds + 77_001, valid_us, "D4 é", tracks)
    line = encode(output)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    (again,) = parse([line])
    for name in ("frame_index", "capture_us", "emit_us", "valid_us", "configuration"):
        assert getattr(again, name) == getattr(output, name)
    for name in Tracks.__slots__:
        assert (getattr(again.tracks, name) == getattr(tracks, name)).all(), name
