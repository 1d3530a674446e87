"""Small networks by name: what benchmarks and the demo run, and what a model folder may name instead of a graph.

Each is a stem, blocks and a head, so that adapters can be put behind the blocks of any of them; ``adapted_backbone`` alone is
another part's, see ``paceline.transfer.hosted``. Weights are random;
R stands for rows, T for steps, H and W for height and width.

>>> sorted(ARCHITECTURES)
['adapted', 'adapted_backbone', 'encoder', 'lstm', 'mlp', 'resnet']
>>> build("mlp", width=32, num_outputs=10)(torch.zeros(3, 32)).shape
torch.Size([3, 10])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Literal, final

import torch
from torch import nn
from torch.nn import functional

from paceline.errors import ConfigError
from paceline.registry import Registry

ARCHITECTURES: Final[Registry[Callable[..., nn.Module]]] = Registry("architecture")
"""Makers of networks; a package adds its own by an entry point in the group ``paceline.architecture``."""


def build(architecture: str, /, **options: Any) -> nn.Module:
    """A network by its name, ready for inference. Raises ConfigError for an unknown name, or options that do not fit."""
    make = ARCHITECTURES[architecture]
    try:
        return make(**options).eval()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"architecture {architecture!r} cannot be made with {options}: {error}") from error


@final
class Network(nn.Module):
    """A stem, blocks one after another, and a head.

    ``widths`` are the numbers of features that the blocks give: in dimension 1 of pictures, else in the last one.
    """

    def __init__(
        self,
        stem: nn.Module,
        blocks: Sequence[nn.Module],
        head: nn.Module,
        *,
        widths: Sequence[int],
        pictures: bool = False,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.head = head
        self.widths = tuple(widths)
        self.pictures = pictures

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)  # type: ignore[no-any-return]


def mlp(
    *, width: int = 64, num_layers: int = 3, num_inputs: int | None = None, num_outputs: int | None = None
) -> Network:
    """Linear layers of one width, each with layer normalisation and ReLU: [R, num_inputs] -> [R, num_outputs]."""
    sizes = [num_inputs or width, *[width] * num_layers]
    blocks = [nn.Sequential(nn.Linear(into, out), nn.LayerNorm(out), nn.ReLU()) for into, out in pairwise(sizes)]
    return Network(nn.Identity(), blocks, _head(width, num_outputs), widths=sizes[1:])


def lstm(
    *, width: int = 64, num_layers: int = 1, num_inputs: int | None = None, num_outputs: int | None = None
) -> Network:
    """The state of an LSTM after the last step: [R, T, num_inputs] -> [R, num_outputs]."""
    sizes = [num_inputs or width, *[width] * num_layers]
    head = nn.Sequential(_Last(), _head(width, num_outputs))
    return Network(nn.Identity(), [_Recurrent(*each) for each in pairwise(sizes)], head, widths=sizes[1:])


def encoder(
    *,
    width: int = 64,
    num_blocks: int = 1,
    num_heads: int = 4,
    num_inner: int | None = None,
    num_outputs: int | None = None,
) -> Network:
    """Transformer blocks, normalised after each sum: [R, T, width] -> [R, T, num_outputs]."""
    blocks = [_EncoderBlock(width, num_heads, num_inner or 4 * width) for _ in range(num_blocks)]
    return Network(nn.Identity(), blocks, _head(width, num_outputs), widths=[width] * num_blocks)


def resnet(
    *,
    channels: Sequence[int] = (16, 32, 64),
    num_blocks: int | Sequence[int] = 1,
    block: Literal["basic", "bottleneck"] = "basic",
    stem: Literal["small", "large"] = "small",
    num_inputs: int = 3,
    num_outputs: int = 10,
) -> Network:
    """Residual convolutions in stages, each but the first of half the size: [R, num_inputs, H, W] -> [R, num_outputs].

    The defaults are for pictures of 32 pixels. ``channels=(64, 128, 256, 512), num_blocks=(3, 4, 6, 3),
    block="bottleneck", stem="large", num_outputs=1000`` is ResNet-50 for pictures of 224.
    """
    if block not in ("basic", "bottleneck") or stem not in ("small", "large"):
        raise ConfigError(f"block must be basic or bottleneck and stem small or large, got {block!r} and {stem!r}")
    counts = [num_blocks] * len(channels) if isinstance(num_blocks, int) else list(num_blocks)
    widening = 4 if block == "bottleneck" else 1
    before, blocks, widths = channels[0], [], []
    for stage, (inner, count) in enumerate(zip(channels, counts, strict=True)):
        for place in range(count):
            stride = 2 if stage > 0 and place == 0 else 1
            make = _bottleneck if block == "bottleneck" else _basic
            blocks.append(_Residual(make(before, inner, stride), before, widening * inner, stride))
            before = widening * inner
            widths.append(before)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_outputs))
    first = [_convolution(num_inputs, channels[0], 3), nn.ReLU()]
    if stem == "large":
        first = [_convolution(num_inputs, channels[0], 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return Network(nn.Sequential(*first), blocks, head, widths=widths, pictures=True)


def adapted(
    *,
    base: str | Network = "resnet",
    base_options: Mapping[str, Any] | None = None,
    rank: int = 4,
    num_adapted: int | None = None,
) -> nn.Module:
    """A network with a small residual adapter, x + B(A(x)), behind each of its last ``num_adapted`` blocks (None: all).

    Networks made with the same ``base`` object share its weights, which stay as they are.

    >>> base = resnet()
    >>> tenants = [adapted(base=base, rank=2) for _ in range(8)]
    >>> len({id(tenant.base.head[2].weight) for tenant in tenants})
    1
    """
    network = build(base, **(base_options or {})) if isinstance(base, str) else base
    if not isinstance(network, Network):
        raise ConfigError(f"base must be a network of stem, blocks and head, got {type(network).__name__}")
    return _Adapted(network, rank, len(network.blocks) if num_adapted is None else num_adapted)


@final
class _Adapted(nn.Module):
    def __init__(self, base: Network, rank: int, num_adapted: int) -> None:
        super().__init__()
        self.base = base
        plain = len(base.blocks) - num_adapted
        made = [_Adapter(width, rank, pictures=base.pictures) for width in base.widths[plain:]]
        self.adapters = nn.ModuleList([*(nn.Identity() for _ in range(plain)), *made])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.base.stem(x)
        for block, adapter in zip(self.base.blocks, self.adapters, strict=True):
            x = adapter(block(x))
        return self.base.head(x)  # type: ignore[no-any-return]


@final
class _Adapter(nn.Module):
    def __init__(self, width: int, rank: int, *, pictures: bool) -> None:
        super().__init__()
        self.a: nn.Module = nn.Conv2d(width, rank, 1, bias=False) if pictures else nn.Linear(width, rank, bias=False)
        self.b: nn.Module = nn.Conv2d(rank, width, 1, bias=False) if pictures else nn.Linear(rank, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.b(self.a(x))  # type: ignore[no-any-return]


def _head(width: int, num_outputs: int | None) -> nn.Module:
    return nn.Identity() if num_outputs is None else nn.Linear(width, num_outputs)


@final
class _Recurrent(nn.Module):
    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(num_inputs, width, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]  # type: ignore[no-any-return]


@final
class _Last(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, -1]  # [R, T, C] -> [R, C]


@final
class _EncoderBlock(nn.Module):
    """``nn.TransformerEncoderLayer`` without dropout, in its parts."""

    def __init__(self, width: int, num_heads: int, num_inner: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ConfigError(f"width must be a multiple of num_heads, got {width} and {num_heads}")
        self.num_heads = num_heads
        self.into = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, num_inner)
        self.down = nn.Linear(num_inner, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = [each.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for each in self.into(x).chunk(3, 2)]
        mixed = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        x = self.norm1(x + self.out(mixed))
        return self.norm2(x + self.down(functional.relu(self.up(x))))  # type: ignore[no-any-return]


def _convolution(into: int, out: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, size, stride, size // 2, bias=False), nn.BatchNorm2d(out))


def _basic(into: int, inner: int, stride: int) -> nn.Module:
    return nn.Sequential(_convolution(into, inner, 3, stride), nn.ReLU(), _convolution(inner, inner, 3))


def _bottleneck(into: int, inner: int, stride: int) -> nn.Module:
    narrow = (_convolution(into, inner, 1), nn.ReLU(), _convolution(inner, inner, 3, stride), nn.ReLU())
    return nn.Sequential(*narrow, _convolution(inner, 4 * inner, 1))


@final
class _Residual(nn.Module):
    def __init__(self, body: nn.Module, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = body
        self.short = nn.Identity() if (into, stride) == (out, 1) else _convolution(into, out, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.body(x) + self.short(x))


ARCHITECTURES.register("mlp", mlp)
ARCHITECTURES.register("lstm", lstm)
ARCHITECTURES.register("encoder", encoder)
ARCHITECTURES.register("resnet", resnet)
ARCHITECTURES.register("adapted", adapted)
