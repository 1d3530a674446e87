"""A frozen network with gates in its units and a head for the user's classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from torch import Tensor, nn

from paceline.errors import ConfigError
from paceline.transfer.backbone.backbone import Backbone
from paceline.transfer.backbone.unit import Unit
from paceline.transfer.gates.gate import GATES, Gate


@final
class AdaptedNet(nn.Module):
    """Logits of ``num_classes`` classes: [B, C, H, W] -> [B, num_classes].

    It takes ``backbone`` for itself, since a unit holds one gate at a time: copy a backbone that is to be shared. With ``gate=None``
    only the head is learned. Gates sit in ``from_stage`` and behind it; what comes before is the prefix, whose activations
    may be kept. ConfigError for an unknown gate or stage, or a gate that this backbone's norms would undo.

    >>> import torch
    >>> from paceline.transfer.backbone.backbone import build
    >>> net = AdaptedNet(build("resnet18"), num_classes=5, gate="affine", from_stage="layer4")
    >>> net(torch.zeros(2, 3, 64, 64)).shape, sum(p.numel() for p in net.gates.parameters())
    (torch.Size([2, 5]), 5120)
    """

    def __init__(
        self, backbone: Backbone, num_classes: int, gate: str | None = "affine", from_stage: str = "stem"
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ConfigError(f"num_classes must be >= 2, got {num_classes}")
        self.backbone = backbone
        self.gate = gate
        self.from_stage = from_stage
        self.first_stage = backbone.stage_index(from_stage)
        self.gates = nn.ModuleDict()
        for unit in backbone.units:
            unit.gate = None
            if gate is not None and unit.stage >= self.first_stage:
                unit.gate = self.gates[unit.name.replace(".", "/")] = GATES[gate](unit)  # a key may hold no dot
        self.head = nn.Linear(backbone.num_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))  # type: ignore[no-any-return]

    def prefix(self, x: Tensor) -> Tensor:
        """What the stages before the first gate give, which no training of gates changes."""
        return self.backbone.run(x, 0, self.first_stage - 1)

    def from_prefix(self, x: Tensor) -> Tensor:
        """Logits, given what ``prefix`` gave."""
        return self.head(self.backbone.pool(self.backbone.run(x, self.first_stage)))  # type: ignore[no-any-return]

    def gated(self) -> Iterator[tuple[Unit, Gate]]:
        """Units that have a gate, in the order in which they run."""
        for unit in self.backbone.units:
            if isinstance(unit.gate, Gate):
                yield unit, unit.gate
