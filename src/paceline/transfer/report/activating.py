"""Pictures in which a channel answers most, cut to what that answer depends on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.criteria import Batches
from paceline.transfer.ranking import Channel
from paceline.transfer.tap import Change, evaluating, tapped

ENERGY: Final = 0.9  # share of the gradient that a crop holds
MIN_CROP: Final = 12  # pixels: less shows nothing


class Strongest(NamedTuple):
    """One answer: in which picture, how strong, and the square that it depends on."""

    row: int
    value: float
    top: int
    left: int
    size: int


def strongest(
    net: AdaptedNet, batches: Batches, channels: Sequence[Channel], num: int = 9
) -> dict[Channel, list[Strongest]]:
    """For each channel the ``num`` pictures with its highest activations, the highest first; rows count through all batches.

    The square is the effective receptive field of that one activation (Luo et al., 2016, arXiv 1701.04128): the smallest around it
    that holds 90 % of the absolute gradient by the pixels. What an activation could see at most is often the whole picture.
    """
    with evaluating(net):
        values, places = _highest(net, batches, channels)  # [N, channels] each
        rows = values.argsort(0, descending=True)[:num]  # [num, channels]
        pictures = _pictures(batches, set(rows.flatten().tolist()))
        found: dict[Channel, list[Strongest]] = {}
        for column, channel in enumerate(channels):
            chosen = rows[:, column].tolist()
            x = torch.stack([pictures[row] for row in chosen])
            squares = _squares(net, x, channel, places[chosen, column])
            found[channel] = [
                Strongest(row, float(values[row, column]), *square) for row, square in zip(chosen, squares, strict=True)
            ]
    return found


def _highest(net: AdaptedNet, batches: Batches, channels: Sequence[Channel]) -> tuple[Tensor, Tensor]:
    """Highest value of each channel in each picture, and its place in the map, counted along its rows."""
    of_unit: dict[str, list[int]] = {}
    for column, channel in enumerate(channels):
        of_unit.setdefault(channel.unit, []).append(column)
    values: list[Tensor] = []
    places: list[Tensor] = []

    def watch(columns: list[int]) -> Change:
        numbers = [channels[column].number for column in columns]

        def change(y: Tensor) -> Tensor:
            highest = y[:, numbers].flatten(2).max(2)
            values[-1][:, columns], places[-1][:, columns] = highest.values, highest.indices
            return y

        return change

    with torch.no_grad(), tapped(net.backbone, {unit: watch(columns) for unit, columns in of_unit.items()}):
        for x, _ in batches:
            values.append(torch.zeros(len(x), len(channels)))
            places.append(torch.zeros(len(x), len(channels), dtype=torch.long))
            net(x)
    return torch.cat(values), torch.cat(places)


def _pictures(batches: Batches, rows: set[int]) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}
    first = 0
    for x, _ in batches:
        found |= {row: x[row - first] for row in rows if first <= row < first + len(x)}
        first += len(x)
    return found


def _squares(net: AdaptedNet, x: Tensor, channel: Channel, places: Tensor) -> list[tuple[int, int, int]]:
    """Top, left and size of the square that the activation at each row's place depends on."""
    seen: list[Tensor] = []

    def change(y: Tensor) -> Tensor:
        seen.append(y[:, channel.number].flatten(1).gather(1, places[:, None]).sum())
        return y.clone()  # a ReLU in place may follow, and what is differentiated must stay

    x = x.clone().requires_grad_(True)
    with torch.enable_grad(), tapped(net.backbone, {channel.unit: change}):
        net.backbone(x)
        (gradient,) = torch.autograd.grad(seen[0], x)
    return [_square(each) for each in gradient.abs().sum(1)]


def _square(energy: Tensor) -> tuple[int, int, int]:
    """[H, W] -> top, left and size of the smallest square around the centre of ``energy`` that holds most of it."""
    height, width = energy.shape
    total = energy.sum()
    if not total > 0:
        return 0, 0, min(height, width)
    row = round(float((energy.sum(1) * torch.arange(height)).sum() / total))
    column = round(float((energy.sum(0) * torch.arange(width)).sum() / total))
    for size in range(MIN_CROP, min(height, width), 2):
        top = min(max(0, row - size // 2), height - size)
        left = min(max(0, column - size // 2), width - size)
        if energy[top : top + size, left : left + size].sum() >= ENERGY * total:
            return top, left, size
    return 0, 0, min(height, width)
