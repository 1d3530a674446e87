from __future__ import annotations

import numpy as np
import pytest

from paceline.errors import ConfigError
from paceline.transfer.embedded import typefaces
from paceline.transfer.embedded.creatures import CLASSES, KINDS, creatures
from paceline.transfer.embedded.targets import NAMES, load_target, read_masters


@pytest.mark.parametrize("name", NAMES)
def test_each_class_has_its_shots(name: str) -> None:
    target = load_target(name, shots=3)
    assert len(target.classes) == len(set(target.classes)) >= 10
    assert target.images.shape == (3 * len(target.classes), 1, 64, 64)
    assert target.images.dtype == np.uint8
    assert np.bincount(target.labels).tolist() == [3] * len(target.classes)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_test_pictures_are_the_same_for_all_seeds(name: str) -> None:
    def load(seed: int, split: str) -> np.ndarray:
        return load_target(name, 2, seed, split).images  # type: ignore[arg-type]

    assert np.array_equal(load(0, "test"), load(1, "test"))
    drawn = [load(0, "train"), load(1, "train"), load(0, "val"), load(1, "val"), load(0, "test")]
    assert np.array_equal(drawn[0], load(0, "train"))
    assert len({pictures.tobytes() for pictures in drawn}) == len(drawn)


def test_pictures_of_a_class_are_not_alike() -> None:
    images = typefaces(shots=20).images
    assert len({image.tobytes() for image in images}) == len(images)


def test_the_packaged_glyphs_are_whole_and_distinct() -> None:
    for name, num_classes in (("typefaces", 20), ("weights", 24)):
        masters = read_masters(name)
        assert masters.glyphs.shape == (num_classes, len(masters.characters), 96, 96)
        assert len({glyph.tobytes() for glyph in masters.glyphs.reshape(-1, 96 * 96)}) == num_classes * 10
        assert (masters.glyphs.max((2, 3)) > 120).all()  # the thinnest strokes have no full pixel
        edges = np.concatenate([masters.glyphs[:, :, [0, -1]].ravel(), masters.glyphs[:, :, :, [0, -1]].ravel()])
        assert edges.max() == 0  # nothing is cut off


@pytest.mark.parametrize(
    ("name", "shots", "split", "said"),
    [("letters", 1, "train", "typefaces, weights"), ("weights", 0, "train", "shots"), ("weights", 1, "dev", "'dev'")],
)
def test_a_mistake_is_named(name: str, shots: int, split: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_target(name, shots, 0, split)  # type: ignore[arg-type]


def test_a_beetle_differs_from_its_like_by_the_class_alone() -> None:
    """With one stream of chance, two kinds that differ in one factor differ in few pixels, and each factor shows."""
    pictures = {kind: creatures(np.array([label]), np.random.default_rng(5))[0] for label, kind in enumerate(KINDS)}
    first = pictures[KINDS[0]].astype(int)
    for kind, picture in pictures.items():
        if sum(a != b for a, b in zip(kind, KINDS[0], strict=True)) == 1:
            changed = np.abs(picture.astype(int) - first) > 20
            assert 0.001 < changed.mean() < 0.1, kind
    assert len(CLASSES) == len(set(CLASSES)) == len(KINDS) == 12
