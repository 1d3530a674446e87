from __future__ import annotations

import pytest
import torch

from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.pictures.inputs import to_input


def test_the_middle_is_cut_out_and_scaled() -> None:
    preprocessing = Preprocessing(size=2, resize=4)
    images = torch.arange(2 * 3 * 16, dtype=torch.uint8).view(2, 3, 4, 4)
    found = to_input(images, preprocessing)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, (images[:, :, 1:3, 1:3] / 255 - mean) / std)


def test_pictures_that_are_cut_already() -> None:
    preprocessing = Preprocessing(size=2, resize=4, mean=(0.0,), std=(1.0,))
    images = torch.full((3, 1, 2, 2), 51, dtype=torch.uint8)
    torch.testing.assert_close(to_input(images, preprocessing), torch.full((3, 1, 2, 2), 0.2))
    assert images.eq(51).all()


def test_pictures_smaller_than_the_network_wants() -> None:
    with pytest.raises(AssertionError, match="smaller"):
        to_input(torch.zeros((1, 3, 1, 1), dtype=torch.uint8), Preprocessing(size=2, resize=4))
