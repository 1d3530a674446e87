"""What a detector is asked for: a bump at the middle of each box, and the box from the cells around it."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from paceline.streaming.frame import CLASSES
from training.streaming.batches import Batch
from training.streaming.network import STRIDE

SPREAD: Final = 0.11  # deviation of the bump as a share of the box's side
LEAST: Final = 0.35  # cells
ANSWERS: Final = 0.3  # height of the bump from which a cell is asked for the box
BOX_WEIGHT: Final = 4.0


def loss(middles: Tensor, sides: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of the bumps, after Law and Deng's focal loss, and of the boxes, one minus generalised IoU."""
    bumps, weight, owner = _bumps(batch, middles.shape[-2], middles.shape[-1])
    likely = torch.sigmoid(middles.float()).clamp(1e-4, 1 - 1e-4)
    peak = bumps >= 1.0
    missed = -((1 - likely) ** 2) * torch.log(likely) * peak
    invented = -((1 - bumps) ** 4) * likely**2 * torch.log(1 - likely) * ~peak * weight[:, None]
    found = (missed + invented).sum() / peak.sum().clamp(min=1)
    return found, BOX_WEIGHT * _box_loss(sides.float(), bumps.amax(1), owner, batch)


def _bumps(batch: Batch, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Heights [B, C, H, W]; weight of what is found elsewhere [B, H, W], 0 on ignored ones; which box each cell belongs to [B, H, W]."""
    boxes = batch.boxes / STRIDE
    middle = ((boxes[..., :2] + boxes[..., 2:]) / 2).floor()
    spread = ((boxes[..., 2:] - boxes[..., :2]) * SPREAD).clamp(min=LEAST)
    across = torch.arange(width, device=boxes.device)
    down = torch.arange(height, device=boxes.device)
    column = torch.exp(-(((across - middle[..., :1]) / spread[..., :1]) ** 2) / 2)  # [B, M, W]
    row = torch.exp(-(((down - middle[..., 1:]) / spread[..., 1:]) ** 2) / 2)  # [B, M, H]
    each = row[..., :, None] * column[..., None, :]  # [B, M, H, W]
    asked = each * (batch.state == 1)[..., None, None]
    bumps = torch.stack([(asked * (batch.classes == c)[..., None, None]).amax(1) for c in range(len(CLASSES))], 1)
    unasked = (each * (batch.state == 2)[..., None, None]).amax(1) > ANSWERS
    return bumps, (~unasked).float(), asked.argmax(1)


def _box_loss(sides: Tensor, heights: Tensor, owner: Tensor, batch: Batch) -> Tensor:
    image, row, column = torch.nonzero(heights > ANSWERS, as_tuple=True)
    if not len(image):
        return sides.sum() * 0.0
    reach = torch.exp(sides[image, :, row, column].clamp(-4, 6))  # [K, 4]
    cell = torch.stack([column, row], 1) + 0.5
    got = torch.cat([cell - reach[:, :2], cell + reach[:, 2:]], 1)
    wanted = batch.boxes[image, owner[image, row, column]] / STRIDE
    weight = heights[image, row, column]
    return ((1 - generalised_iou(got, wanted)) * weight).sum() / weight.sum()


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """[K, 4], [K, 4] -> [K]"""
    shared = _area(torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:]))
    hull = _area(torch.minimum(first[:, :2], second[:, :2]), torch.maximum(first[:, 2:], second[:, 2:]))
    either = _area(first[:, :2], first[:, 2:]) + _area(second[:, :2], second[:, 2:]) - shared
    return shared / either.clamp(min=1e-6) - (hull - either) / hull.clamp(min=1e-6)


def _area(low: Tensor, high: Tensor) -> Tensor:
    return functional.relu(high - low).prod(1)
