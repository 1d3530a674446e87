"""Ways to make a frozen network know new classes: what is learned, from which start, at which rate."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from paceline.registry import Registry

if TYPE_CHECKING:
    from paceline.transfer.adapted import AdaptedNet
    from paceline.transfer.backbone.load import Base

Trained: TypeAlias = Literal["head", "gates", "all"]  # "gates" and "all" with the head


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """A way to adapt. ``learning_rate`` is where the search for one begins."""

    name: str
    summary: str
    trains: Trained
    gate: str | None = None
    pretrained: bool = True
    learning_rate: float = 0.0
    head_share: float = 1.0  # of that rate for the head, which starts near where it ends

    def make(self, base: Base, num_classes: int, *, from_stage: str = "stem", seed: int = 0) -> AdaptedNet:
        """A network ready to be trained, which shares nothing with ``base``. What is random in it comes from ``seed``."""
        import torch

        from paceline.transfer.adapted import AdaptedNet
        from paceline.transfer.backbone.backbone import build

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self.pretrained:
                backbone = copy.deepcopy(base.backbone)
            else:
                backbone = build(base.backbone.arch, norm="batch", num_inputs=base.preprocessing.channels)
            net = AdaptedNet(backbone, num_classes, self.gate, from_stage)
        return prepare(net, self)


def prepare(net: AdaptedNet, method: Method) -> AdaptedNet:
    """Lets that be learned which ``method`` learns, and nothing else."""
    net.requires_grad_(False)
    net.head.requires_grad_(True)
    if method.trains == "gates":
        net.gates.requires_grad_(True)
    if method.trains == "all":
        for unit in net.backbone.units:
            unit.conv.requires_grad_(unit.stage >= net.first_stage)
            unit.norm.requires_grad_(unit.stage >= net.first_stage)
    return net


METHODS: Final[Registry[Method]] = Registry("method")
for _method in (
    Method(name="probe", summary="the head alone", trains="head"),
    Method(name="affine", summary="scale and shift of each channel", trains="gates", gate="affine", learning_rate=1e-2),
    Method(name="out", summary="scale of each filter", trains="gates", gate="out", learning_rate=1e-2),
    Method(name="full", summary="scale of each slice of a filter", trains="gates", gate="full", learning_rate=1e-2),
    Method(name="lora", summary="low-rank correction", trains="gates", gate="lora", learning_rate=3e-3),
    Method(name="dynamic", summary="scale by the picture", trains="gates", gate="dynamic", learning_rate=1e-2),
    Method(name="full_finetune", summary="everything", trains="all", learning_rate=1e-3),
    Method(name="scratch", summary="everything, from nothing", trains="all", pretrained=False, learning_rate=3e-3),
):
    METHODS.register(_method.name, _method)
