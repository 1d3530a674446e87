"""The detectors: plain 3x3 convolutions down to a thirty-second of the picture and back up to a quarter, where every cell says
whether a box has its middle there, of which class, and how far its sides are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from paceline.streaming.frame import CLASSES

STRIDE: Final = 4  # of the cells that answer
COARSEST: Final = 32  # sides of pictures are multiples of this, or are padded on the way
PRIOR: Final = 0.02  # how likely a cell is a middle before anything is learned


class Shape(NamedTuple):
    """Widths at 1/2, 1/4 .. 1/32 of the picture, and how many pairs of convolutions follow at 1/4 .. 1/32."""

    widths: tuple[int, int, int, int, int]
    pairs: tuple[int, int, int, int]


SHAPES: Final = {
    "small": Shape((16, 24, 48, 64, 64), (0, 1, 1, 1)),
    "medium": Shape((16, 48, 80, 96, 96), (1, 1, 1, 1)),
}


class Unit(nn.Module):
    """Convolution, norm, ReLU; after `fold` the norm lives in the convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, size: int = 3, *, active: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(outputs)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return functional.relu(x) if self.active else x

    @torch.no_grad()
    def fold(self) -> None:
        if isinstance(self.norm, nn.BatchNorm2d):
            assert self.norm.running_var is not None
            assert self.norm.running_mean is not None
            scale = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
            old = self.conv
            size, stride = int(old.kernel_size[0]), int(old.stride[0])
            folded = nn.Conv2d(old.in_channels, old.out_channels, size, stride, size // 2)
            folded.weight.copy_(self.conv.weight * scale[:, None, None, None])
            assert folded.bias is not None
            folded.bias.copy_(self.norm.bias - self.norm.running_mean * scale)
            self.conv, self.norm = folded, nn.Identity()


class Pair(nn.Module):
    """Two units around which the input is added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = Unit(width, width)
        self.second = Unit(width, width, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class Detector(nn.Module):
    """[B, 3, H, W] of 0..1 -> logits [B, 3, H/4, W/4] and log distances to the four sides in cells [B, 4, H/4, W/4]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = shape.widths
        self.stem = Unit(3, widths[0], 2)
        self.down = nn.ModuleList(Unit(a, b, 2) for a, b in pairwise(widths))
        self.pairs = nn.ModuleList(
            nn.ModuleList(Pair(width) for _ in range(count))
            for width, count in zip(widths[1:], shape.pairs, strict=True)
        )
        self.lateral = nn.ModuleList(Unit(b, a, size=1, active=False) for a, b in pairwise(widths[1:]))
        self.join = nn.ModuleList(Unit(width, width) for width in widths[1:4])
        self.head = Unit(widths[1], widths[1])
        self.middle = nn.Conv2d(widths[1], len(CLASSES), 1)
        self.sides = nn.Conv2d(widths[1], 4, 1)
        nn.init.constant_(self.middle.bias, -float(torch.log(torch.tensor((1 - PRIOR) / PRIOR))))  # type: ignore[arg-type]
        nn.init.normal_(self.middle.weight, std=0.01)
        nn.init.normal_(self.sides.weight, std=0.01)
        nn.init.constant_(self.sides.bias, 0.7)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x - 0.45)
        levels = []
        for down, pairs in zip(self.down, self.pairs, strict=True):
            x = down(x)
            for pair in pairs:  # type: ignore[attr-defined]
                x = pair(x)
            levels.append(x)
        for level in (2, 1, 0):
            above = functional.interpolate(self.lateral[level](x), scale_factor=2.0, mode="nearest")
            x = self.join[level](functional.relu(levels[level] + above))
        x = self.head(x)
        return self.middle(x), self.sides(x)

    def fold(self) -> Detector:
        """Norms into convolutions, in place; for inference only."""
        for module in self.modules():
            if isinstance(module, Unit):
                module.fold()
        return self.eval()


def work(shape: Shape, size: Sequence[int]) -> float:
    """Multiplications and additions of one picture, in GFLOP."""
    net = Detector(shape).eval()
    total = 0.0

    def count(module: nn.Conv2d, _: object, output: Tensor) -> None:
        nonlocal total
        total += 2 * output[0, 0].numel() * module.weight.numel()

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        net(torch.zeros(1, 3, size[1], size[0]))
    return total / 1e9
