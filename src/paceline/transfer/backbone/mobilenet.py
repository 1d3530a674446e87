"""MobileNetV2 (Sandler et al., 2018, arXiv 1801.04381) in torchvision's form."""

from __future__ import annotations

from typing import Final, final

from torch import Tensor, nn
from torch.nn import functional

from paceline.transfer.backbone.backbone import Backbone, NormKind, finish, make_norm
from paceline.transfer.backbone.unit import Norm, Unit

# Expansion, outputs, number of blocks and stride of the first one; a line is a stage.
_STAGES: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM: Final = 32
_LAST: Final = 1280


@final
class MobileNetV2(Backbone):
    """Seven stages of inverted residual blocks between a stem and a last 1 x 1 convolution.

    ``width`` is the number of the stem's outputs; all others are in proportion, but the last is never narrower.
    """

    arch = "mobilenet_v2"
    stage_names = ("stem", *(f"stage{number}" for number in range(1, len(_STAGES) + 1)), "last")

    def __init__(self, *, norm: NormKind = "frozen", num_inputs: int = 3, width: int = _STEM) -> None:
        super().__init__()
        share = width / _STEM
        stem = _convolution(num_inputs, width, 3, 2, 1, norm)
        self.features = nn.Sequential(nn.Sequential(*stem))
        self._parts: list[tuple[int, _Block | Unit]] = [(0, Unit("features.0.0", *stem, 0))]
        into = width
        for stage, (expansion, channels, count, first_stride) in enumerate(_STAGES, 1):
            out = _round(channels * share)
            for place in range(count):
                name = f"features.{len(self.features)}"
                block = _Block(name, stage, into, expansion, out, first_stride if place == 0 else 1, norm)
                self.features.append(block)
                self._parts.append((stage, block))
                into = out
        self.num_features = _round(_LAST * max(1.0, share))
        last = _convolution(into, self.num_features, 1, 1, 1, norm)
        self._parts.append((len(_STAGES) + 1, Unit(f"features.{len(self.features)}.0", *last, len(_STAGES) + 1)))
        self.features.append(nn.Sequential(*last))
        self.units = tuple(
            unit for _, part in self._parts for unit in (part.path if isinstance(part, _Block) else (part,))
        )
        finish(self, norm)

    def run_stage(self, x: Tensor, stage: int) -> Tensor:
        for own, part in self._parts:
            if own == stage:
                x = part(x) if isinstance(part, _Block) else functional.relu6(part(x), inplace=True)
        return x


@final
class _Block(nn.Module):
    """A 1 x 1 convolution to many channels, one within each of them, and one back to few: beside the input where shapes allow it."""

    def __init__(self, name: str, stage: int, into: int, expansion: int, out: int, stride: int, norm: NormKind) -> None:
        super().__init__()
        inner = into * expansion
        self.is_residual = (into, stride) == (out, 1)
        parts = [] if expansion == 1 else [_convolution(into, inner, 1, 1, 1, norm)]
        parts.append(_convolution(inner, inner, 3, stride, inner, norm))
        last = _convolution(inner, out, 1, 1, 1, norm)
        self.conv = nn.Sequential(*(nn.Sequential(*part) for part in parts), *last)
        self.path = (
            *(Unit(f"{name}.conv.{place}.0", *part, stage) for place, part in enumerate(parts)),
            Unit(f"{name}.conv.{len(parts)}", *last, stage),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, H, W] -> [B, O, H / stride, W / stride]"""
        y = x
        for unit in self.path[:-1]:
            y = functional.relu6(unit(y), inplace=True)
        y = self.path[-1](y)
        return x + y if self.is_residual else y


def _convolution(into: int, out: int, size: int, stride: int, groups: int, norm: NormKind) -> tuple[nn.Conv2d, Norm]:
    return nn.Conv2d(into, out, size, stride, size // 2, groups=groups, bias=False), make_norm(norm, out)


def _round(channels: float) -> int:
    """The nearest multiple of eight, but at most a tenth less."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
