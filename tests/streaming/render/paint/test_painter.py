"""Pictures: seeded, lit as told, and with somebody in every box."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("PIL")

from paceline.streaming.render.drive import Drive
from paceline.streaming.render.paint.sensor import compress, smear
from paceline.streaming.render.regime import REGIMES

SIZE = (320, 192)


@pytest.mark.parametrize("name", REGIMES)
def test_every_regime_is_painted(name: str) -> None:
    frame = Drive(seed=1, duration_s=2, regimes=[name], size=SIZE).frame(10)
    assert frame.pixels is not None
    assert frame.pixels.shape == (SIZE[1], SIZE[0], 3)
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.std() > 8
    assert frame.capture_us == 1_000_000


def test_a_picture_depends_on_seed_and_index_alone() -> None:
    first, second = (Drive(seed=6, duration_s=2, size=SIZE) for _ in range(2))
    list(first.frames())
    np.testing.assert_array_equal(first.frame(7).pixels, second.frame(7).pixels)


def test_night_is_dark_and_dusk_between() -> None:
    means = [
        Drive(seed=2, duration_s=2, regimes=["suburb"], light=light, size=SIZE).frame(5).pixels.mean()  # type: ignore[union-attr]
        for light in ("day", "dusk", "night")
    ]
    assert means[0] > 1.3 * means[1] > 1.3 * 1.3 * means[2]


def test_somebody_is_in_the_boxes() -> None:
    """Without its actors the same drive shows something else there, and the same elsewhere."""
    made, bare = (Drive(seed=11, duration_s=2, regimes=["downtown"], light="day", size=SIZE) for _ in range(2))
    object.__setattr__(bare, "actors", made.actors)
    painter = bare._painter
    painter._draw = lambda *_: []  # type: ignore[method-assign]
    with_all, without = made.frame(10).pixels, bare.frame(10).pixels
    assert with_all is not None
    assert without is not None
    moved = np.abs(with_all.astype(int) - without).max(2) > 30
    truth = made.log.truths[10]
    boxes = truth.boxes[(truth.visible > 0.9) & ~truth.ignored].astype(int)
    assert len(boxes)
    shares = [moved[top : bottom + 1, left : right + 1].mean() for left, top, right, bottom in boxes]
    assert min(shares) > 0.2
    assert moved[: SIZE[1] // 6].mean() < 0.2


def test_smearing_moves_nothing_on_the_whole() -> None:
    picture = np.zeros((8, 40, 3), np.uint8)
    picture[:, 20] = 250
    found = smear(picture, 5.0)
    assert (found[:, 18:23] == 50).all()
    assert found[:, :17].max() == found[:, 24:].max() == 0


def test_a_compressed_picture_stays_close() -> None:
    plain, packed = (
        Drive(seed=6, duration_s=1, size=SIZE, jpeg_quality=quality).frame(3).pixels for quality in (None, 80)
    )
    assert plain is not None
    assert packed is not None
    assert 0 < np.abs(plain.astype(int) - packed).mean() < 8


def test_compression_stays_close() -> None:
    picture = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (64, 1, 3))
    assert np.abs(compress(picture, 90).astype(int) - picture).mean() < 3
