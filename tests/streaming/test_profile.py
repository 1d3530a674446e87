"""Durations: measured, kept, and corrected by what runs take."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from paceline.errors import ConfigError, ResourceError
from paceline.streaming.frame import Detections, Frame
from paceline.streaming.profile import FEWEST, Measured, Profile, Runtimes, measure, read, write


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    profile = Profile((Measured("d1", 1, (0.01, 0.02)), Measured("d1", 2, (0.008,))), processor="made")
    write(tmp_path / "profile.json", profile)
    assert read(tmp_path / "profile.json") == profile
    assert profile.samples() == {"d1": (0.01, 0.02)}
    assert profile.quantiles_s((0.5,)) == {("d1", 1): (0.015,), ("d1", 2): (0.008,)}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"profiles": [{"configuration": "d", "threads": 1, "wall_s": []}]}', "\xff",
     '{"profiles": [{"configuration": "d", "threads": 0, "wall_s": [1]}]}',
     '{"profiles": [{"configuration": "d", "threads": 1, "wall_s": [0.1, -1]}]}'],
)  # fmt: skip
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="is no profile"):
        read(path)


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="cannot read"):
        read(tmp_path / "none.json")
    with pytest.raises(ResourceError, match="cannot write"):
        write(tmp_path / "none" / "profile.json", Profile(()))


def test_other_threads_were_not_profiled() -> None:
    with pytest.raises(ConfigError, match=r"threads=4; known: \[1\]"):
        Profile((Measured("d1", 1, (0.01,)),)).samples(4)


def test_measuring_runs_the_detector_as_often_as_asked() -> None:
    seen: list[int] = []

    def detector(frame: Frame) -> Detections:
        seen.append(frame.index)
        return Detections()

    frames = [Frame(index, 0, (8, 8)) for index in range(2)]
    measured = measure(detector, frames, name="d", repeats=8)
    assert len(measured.wall_s) == len(measured.processor_s) == 8
    assert set(seen) == {0, 1}
    assert len(measure(detector, frames, name="d", repeats=100, most_s=0).wall_s) == FEWEST
    with pytest.raises(ConfigError, match="needs frames"):
        measure(detector, [], name="d")


def test_contention_is_what_runs_take_over_what_was_profiled() -> None:
    runtimes = Runtimes({"small": [0.010] * 5, "large": [0.100] * 5})
    for _ in range(60):
        runtimes.observe("large", 0.150)
    assert runtimes.contention == pytest.approx(1.5)
    assert runtimes.typical_us("large") == pytest.approx(150_000, rel=0.05)
    assert runtimes.typical_us("small") > 10_000, "a neighbour's slowness tells something"


def test_high_is_the_99th_percentile_or_more() -> None:
    runtimes = Runtimes({"steady": [0.010], "uneven": [0.010] * 90 + [0.050] * 10})
    assert runtimes.high_us("steady") == 12_000
    assert runtimes.high_us("uneven") == 50_000


@pytest.mark.parametrize("samples", [{}, {"d": []}, {"d": [0.0]}, {"d": [math.inf]}, {"d": [math.nan]}])
def test_wrong_samples_are_refused(samples: dict[str, list[float]]) -> None:
    with pytest.raises(ConfigError, match="profile"):
        Runtimes(samples)


def test_an_unknown_detector_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="'d9' is not profiled; known: d1, d2"):
        Runtimes({"d1": [0.01], "d2": [0.02]}).typical_us("d9")
