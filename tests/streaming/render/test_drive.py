"""A drive as a whole: seeds, rates, sizes, and what it must not import."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from paceline.errors import ConfigError
from paceline.streaming.frame import Log
from paceline.streaming.render import drive as module
from paceline.streaming.render.drive import Drive


def same(first: Log, second: Log, every: int = 1, scale: tuple[float, float] = (1.0, 1.0)) -> bool:
    return len(first.truths) == len(second.truths[::every]) and all(
        np.array_equal(a.ids, b.ids) and np.allclose(a.boxes * np.tile(scale, 2), b.boxes)
        for a, b in zip(first.truths, second.truths[::every], strict=True)
    )


def test_the_same_seed_is_the_same_drive() -> None:
    assert same(Drive(seed=7, duration_s=3).log, Drive(seed=7, duration_s=3).log)
    assert not same(Drive(seed=7, duration_s=3).log, Drive(seed=8, duration_s=3).log)


def test_thirty_hertz_show_the_same_drive_more_often() -> None:
    slow, fast = Drive(seed=9, duration_s=3), Drive(seed=9, duration_s=3, rate_hz=30)
    assert slow.log.times_us[:3].tolist() == [0, 100_000, 200_000]
    assert fast.log.times_us[:3].tolist() == [0, 33_333, 66_667]
    assert slow.log.ego_speed is not None
    assert fast.log.ego_speed is not None
    np.testing.assert_array_equal(slow.log.ego_speed, fast.log.ego_speed[::3])
    for a, b in zip(slow.log.truths, fast.log.truths[::3], strict=True):
        kept = np.isin(b.ids, a.ids)
        np.testing.assert_allclose(a.boxes[np.isin(a.ids, b.ids)], b.boxes[kept])


def test_another_size_scales_the_boxes() -> None:
    assert same(Drive(seed=3, duration_s=2).log, Drive(seed=3, duration_s=2, size=(960, 576)).log, 1, (0.75, 0.8))


def test_truth_made_in_pieces_has_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Drive(seed=4, duration_s=8).log
    monkeypatch.setattr(module, "CHUNK", 17)
    pieces = Drive(seed=4, duration_s=8).log
    assert same(whole, pieces)
    assert all(np.array_equal(a.ignored, b.ignored) for a, b in zip(whole.truths, pieces.truths, strict=True))


def test_tags_say_what_it_is() -> None:
    assert {"night rain", "night", "rain"} <= set(Drive(seed=0, duration_s=1, regimes=["night rain"]).log.tags)
    assert "dusk" in Drive(seed=0, duration_s=1, light="dusk").log.tags


@pytest.mark.parametrize(("option", "value"), [("rate_hz", 24), ("light", "noon"), ("regimes", ["moon"])])
def test_wrong_options_are_named(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=r"known"):
        Drive(seed=0, **{option: value})  # type: ignore[arg-type]


def test_truth_needs_neither_torch_nor_pillow() -> None:
    code = "import sys\nsys.modules['torch'] = sys.modules['PIL'] = None\nfrom paceline.streaming.render.drive import Drive\nDrive(seed=0, duration_s=1).log"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
