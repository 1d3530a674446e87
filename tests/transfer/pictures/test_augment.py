from __future__ import annotations

import numpy as np
import pytest
import torch

from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.pictures.augment import Augment


def made(size: int, resize: int) -> Preprocessing:
    return Preprocessing(size=size, resize=resize)


def batch(num: int, side: int) -> torch.Tensor:
    return torch.randint(0, 256, (num, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(9))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("size", "resize"), [(12, 16), (16, 16)])
def test_each_picture_is_a_piece_of_its_own(size: int, resize: int, flip: bool) -> None:
    images = batch(32, resize)
    found = Augment(made(size, resize), flip=flip)(images, seeded())
    assert found.shape == (32, 3, size, size)
    assert found.dtype == torch.uint8
    reach = 0 if resize > size else size // 16
    places = set()
    for image, piece in zip(images.numpy(), found.numpy(), strict=True):
        wide = np.pad(image, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
        matches = [
            (top, left, mirrored)
            for top in range(wide.shape[1] - size + 1)
            for left in range(wide.shape[2] - size + 1)
            for mirrored in (False, True)
            if (wide[:, top : top + size, left : left + size][:, :, :: -1 if mirrored else 1] == piece).all()
        ]
        assert len(matches) == 1
        places.add(matches[0])
    assert {mirrored for _, _, mirrored in places} == ({False, True} if flip else {False})
    assert len(places) > 5  # of nine places without a margin


def test_the_generator_decides() -> None:
    augment, images = Augment(made(12, 16), flip=True), batch(8, 16)
    assert torch.equal(augment(images, seeded(1)), augment(images, seeded(1)))
    assert not torch.equal(augment(images, seeded(1)), augment(images, seeded(2)))


def test_the_input_stays_and_small_pictures_cannot_move() -> None:
    images = batch(4, 8)
    kept = images.clone()
    assert torch.equal(Augment(made(8, 8))(images, seeded()), kept)  # a sixteenth of 8 is nothing
    assert torch.equal(images, kept)


def test_pictures_smaller_than_the_network_wants() -> None:
    with pytest.raises(AssertionError, match="smaller"):
        Augment(made(16, 16))(batch(1, 8), seeded())
