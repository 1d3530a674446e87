"""What all networks that can be adapted have in common: stages, units, pooled features."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Final, Literal, Self, TypeAlias

import msgspec
from torch import Tensor, nn

from paceline.errors import ConfigError
from paceline.registry import Registry
from paceline.transfer.backbone.unit import FrozenBatchNorm2d, Norm, Unit

MAX_PIXELS: Final = 4096  # of a side: a description from elsewhere must not ask for all memory

NormKind: TypeAlias = Literal["frozen", "batch"]


class Preprocessing(msgspec.Struct, frozen=True, kw_only=True):
    """How a picture becomes the network's input. The defaults are those of networks trained on ImageNet."""

    size: int = 224  # pixels of the square that the network sees
    resize: int = 256  # the shorter side before the square is cut out
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.resize <= MAX_PIXELS:
            raise ConfigError(
                f"size and resize must be 1 <= size <= resize <= {MAX_PIXELS}, got {self.size} and {self.resize}"
            )
        if len(self.mean) not in (1, 3) or len(self.std) != len(self.mean) or min(self.std) <= 0:
            raise ConfigError(f"mean and std must be of 1 or 3 channels, std > 0, got {self.mean} and {self.std}")

    @property
    def channels(self) -> int:
        return len(self.mean)


class Backbone(nn.Module):
    """A network without its head: pictures to features, in stages that run one after another.

    With ``norm="frozen"`` nothing is learned until a method says so. Subclasses set all attributes below.
    """

    arch: str
    num_features: int
    stage_names: tuple[str, ...]  # the first is the stem
    units: tuple[Unit, ...]  # in the order in which they run

    @abstractmethod
    def run_stage(self, x: Tensor, stage: int) -> Tensor:
        """Activations behind one stage, given those before it."""

    def run(self, x: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Activations behind stage ``last`` (None: all of them), given those before stage ``first``."""
        end = len(self.stage_names) if last is None else last + 1
        for stage in range(first, end):
            x = self.run_stage(x, stage)
        return x

    def pool(self, x: Tensor) -> Tensor:
        """[B, F, H, W] -> [B, F]"""
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, F]"""
        return self.pool(self.run(x))

    def copied(self) -> Self:
        """A network over the same tensors, with units of its own: they hold no gates, and other gates may be put into them."""
        shared = [*self.parameters(), *self.buffers(), *(unit.gate for unit in self.units if unit.gate is not None)]
        other = copy.deepcopy(self, {id(each): each for each in shared})
        for unit in other.units:
            unit.gate = None
        return other

    def without_norms(self) -> Self:
        """A copy as ``copied`` makes it, where nothing is left of a unit but its convolution."""
        other = self.copied()
        names = {module: name for name, module in other.named_modules()}
        for unit in other.units:
            name, unit.norm = names[unit.norm], nn.Identity()
            other.set_submodule(name, unit.norm)
        return other

    def stage_index(self, name: str) -> int:
        """ConfigError, with the known names, if there is no such stage."""
        if name not in self.stage_names:
            raise ConfigError(f"{self.arch} has no stage {name!r}; known: {', '.join(self.stage_names)}")
        return self.stage_names.index(name)


BACKBONES: Final[Registry[Callable[..., Backbone]]] = Registry("backbone")
"""Makers of networks, called with ``norm`` and ``num_inputs``; a package adds its own by an entry point in the group ``paceline.backbone``."""
for _name in ("resnet18", "resnet34", "resnet50", "resnet101", "glyphnet"):
    BACKBONES.register_lazy(_name, f"paceline.transfer.backbone.resnet:{_name}")
BACKBONES.register_lazy("mobilenet_v2", "paceline.transfer.backbone.mobilenet:MobileNetV2")


def build(arch: str, *, norm: NormKind = "frozen", num_inputs: int = 3, **options: Any) -> Backbone:
    """A network by its name, with random weights. ConfigError, with the known names, if there is none.

    >>> build("resnet18").num_features
    512
    """
    return BACKBONES[arch](norm=norm, num_inputs=num_inputs, **options)


def make_norm(kind: NormKind, num_channels: int) -> Norm:
    """One norm of a network that is being built."""
    return FrozenBatchNorm2d(num_channels) if kind == "frozen" else nn.BatchNorm2d(num_channels)


def finish(network: Backbone, norm: NormKind) -> None:
    """Ends the building of a network: random kernels (He et al., 2015, arXiv 1502.01852); what will be pre-trained learns no more."""
    for module in network.modules():
        if (
            isinstance(module, nn.Conv2d) and not module.weight.is_meta
        ):  # there, the first normal_() imports for seconds
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    network.requires_grad_(norm == "batch")
