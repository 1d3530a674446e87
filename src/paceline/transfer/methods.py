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


_HEAD_SHARE = 0.3  # a head at the gates' own rate loses at once what it was fitted to

METHODS: Final[Registry[Method]] = Registry("method")


def _gated(gate: str, summary: str, learning_rate: float = 1e-2) -> Method:
    return Method(
        name=gate, summary=summary, trains="gates", gate=gate, learning_rate=learning_rate, head_share=_HEAD_SHARE
    )


for _method in (
    Method(name="probe", summary="the head alone", trains="head"),
    _gated("affine", "scale and shift of each channel"),
    _gated("out", "scale of each filter"),
    _gated("full", "scale of each slice of a filter"),
    _gated("lora", "low-rank correction", learning_rate=5e-3),
    _gated("affine_lora", "scale, shift and low-rank correction"),
    _gated("dynamic", "scale by the picture"),
    Method(name="full_finetune", summary="everything", trains="all", learning_rate=7e-4),
    Method(name="scratch", summary="everything, from nothing", trains="all", pretrained=False, learning_rate=3e-3),
):
    METHODS.register(_method.name, _method)
