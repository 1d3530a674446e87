"""Residual networks (He et al., 2015, arXiv 1512.03385) in torchvision's form: stride in the 3 x 3 convolution of a bottleneck."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal, final

from torch import Tensor, nn
from torch.nn import functional

from paceline.transfer.backbone.backbone import Backbone, NormKind, finish, make_norm
from paceline.transfer.backbone.unit import Norm, Unit

_EXPANSION = 4  # of a bottleneck's inner width


@final
class ResNet(Backbone):
    """Four stages of residual blocks behind a stem of a 7 x 7 convolution and a pooling, each of stride 2.

    ``width`` is that of the first stage's inner convolutions; each later stage has twice the one before.
    """

    stage_names = ("stem", "layer1", "layer2", "layer3", "layer4")

    def __init__(
        self,
        arch: str,
        counts: tuple[int, int, int, int],
        block: Literal["basic", "bottleneck"],
        *,
        norm: NormKind = "frozen",
        num_inputs: int = 3,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.arch = arch
        expansion = _EXPANSION if block == "bottleneck" else 1
        self.conv1 = nn.Conv2d(num_inputs, width, 7, 2, 3, bias=False)
        self.bn1 = make_norm(norm, width)
        self.stem = Unit("conv1", self.conv1, self.bn1, 0)
        into = width
        for stage, count in enumerate(counts, 1):
            inner = width * 2 ** (stage - 1)
            blocks = []
            for place in range(count):
                stride = 2 if stage > 1 and place == 0 else 1
                sizes = _sizes(block, into, inner, stride)
                blocks.append(_Block(f"layer{stage}.{place}", stage, sizes, norm, into, inner * expansion, stride))
                into = inner * expansion
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.num_features = into
        self.units = (self.stem, *(unit for block in self._blocks() for unit in block.units))
        finish(self, norm)

    def run_stage(self, x: Tensor, stage: int) -> Tensor:
        if stage == 0:
            return functional.max_pool2d(functional.relu(self.stem(x), inplace=True), 3, 2, 1)
        return self.get_submodule(self.stage_names[stage])(x)  # type: ignore[no-any-return]

    def _blocks(self) -> Iterator[_Block]:
        for name in self.stage_names[1:]:
            yield from self.get_submodule(name)  # type: ignore[misc]


@final
class _Block(nn.Module):
    """Convolutions ``conv1``, ``conv2``, … in a row, beside the input or its projection ``downsample``."""

    def __init__(
        self,
        name: str,
        stage: int,
        sizes: tuple[tuple[int, int, int, int], ...],
        norm: NormKind,
        into: int,
        out: int,
        stride: int,
    ) -> None:
        super().__init__()
        self.path = tuple(
            self._unit(place, name, stage, conv, norm)
            for place, conv in enumerate((_convolution(*each) for each in sizes), 1)
        )
        self.shortcut: Unit | None = None
        if (into, stride) != (out, 1):
            projection, behind = _convolution(into, out, 1, stride), make_norm(norm, out)
            self.downsample = nn.Sequential(projection, behind)
            self.shortcut = Unit(f"{name}.downsample.0", projection, behind, stage)

    def _unit(self, place: int, name: str, stage: int, conv: nn.Conv2d, kind: NormKind) -> Unit:
        norm: Norm = make_norm(kind, conv.out_channels)
        self.add_module(f"conv{place}", conv)
        self.add_module(f"bn{place}", norm)
        return Unit(f"{name}.conv{place}", conv, norm, stage)

    @property
    def units(self) -> tuple[Unit, ...]:
        return self.path if self.shortcut is None else (*self.path, self.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, H, W] -> [B, O, H / stride, W / stride]"""
        y = x
        for unit in self.path[:-1]:
            y = functional.relu(unit(y), inplace=True)
        y = self.path[-1](y)
        y += x if self.shortcut is None else self.shortcut(x)  # the last unit's output is nobody else's
        return functional.relu(y, inplace=True)


def _sizes(
    block: Literal["basic", "bottleneck"], into: int, inner: int, stride: int
) -> tuple[tuple[int, int, int, int], ...]:
    """Inputs, outputs, kernel and stride of a block's convolutions."""
    if block == "basic":
        return ((into, inner, 3, stride), (inner, inner, 3, 1))
    return ((into, inner, 1, 1), (inner, inner, 3, stride), (inner, _EXPANSION * inner, 1, 1))


def _convolution(into: int, out: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(into, out, size, stride, size // 2, bias=False)


resnet18 = partial(ResNet, "resnet18", (2, 2, 2, 2), "basic")
resnet34 = partial(ResNet, "resnet34", (3, 4, 6, 3), "basic")
resnet50 = partial(ResNet, "resnet50", (3, 4, 6, 3), "bottleneck")
resnet101 = partial(ResNet, "resnet101", (3, 4, 23, 3), "bottleneck")
glyphnet = partial(ResNet, "glyphnet", (2, 2, 2, 2), "bottleneck", width=16)  # the packaged one
