"""A correction of low rank beside every kernel, and a scale and a shift behind the norm: what both can do, together."""

from __future__ import annotations

from typing import Final, final

from torch import Tensor

from paceline.transfer.backbone.unit import Unit
from paceline.transfer.gates.affine import Affine
from paceline.transfer.gates.gate import Gate
from paceline.transfer.gates.lora import LoRA

RANK: Final = 7  # with it a tenth of the packaged network's numbers is learned


@final
class AffineLoRA(Gate):
    """``lora`` inside, ``affine`` behind. It closes more of the gap to full fine-tuning than either; no mixed batches."""

    name = "affine_lora"
    learning_rate = 1e-2

    def __init__(self, unit: Unit) -> None:
        super().__init__(unit)
        self.affine = Affine(unit)
        self.lora = LoRA(unit, rank=RANK)

    def forward(self, unit: Unit, x: Tensor) -> Tensor:
        return self.affine.normed(unit, self.lora.convolved(unit, x))

    def scale(self) -> Tensor:
        return self.affine.scale()

    def kernel(self, unit: Unit) -> Tensor:
        return self.lora.kernel(unit)

    def table(self, unit: Unit) -> tuple[Tensor, Tensor]:
        return self.affine.table(unit)
