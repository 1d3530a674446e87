"""From pixels to what a network reads."""

from __future__ import annotations

import torch
from torch import Tensor

from paceline.transfer.backbone.backbone import Preprocessing


def to_input(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Cuts out the middle if the pictures are larger than the network's input, and scales by mean and std.

    [B, C, R, R] uint8 -> [B, C, S, S] float32

    >>> plain = Preprocessing(size=2, resize=4, mean=(0.5,), std=(0.5,))
    >>> to_input(torch.full((1, 1, 4, 4), 255, dtype=torch.uint8), plain).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """
    size = preprocessing.size
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    assert min(top, left) >= 0, "pictures are smaller than the network's input"
    middle = images[:, :, top : top + size, left : left + size]
    mean = torch.tensor(preprocessing.mean, device=images.device).view(-1, 1, 1)
    std = torch.tensor(preprocessing.std, device=images.device).view(-1, 1, 1)
    return middle.to(torch.float32).sub_(255 * mean).div_(255 * std)
