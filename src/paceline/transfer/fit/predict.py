"""What a network says about pictures as they are."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.fit.feed import PLAIN_BATCH, plain
from paceline.transfer.fit.numerics import Numerics

if TYPE_CHECKING:
    from paceline.transfer.pictures.pictures import Pictures


def predict(
    net: nn.Module, pictures: Pictures, preprocessing: Preprocessing, numerics: Numerics | None = None
) -> Tensor:
    """Logits of all pictures in their order, [N, K] float32 on the CPU. Leaves ``net`` in evaluation mode.

    Without ``numerics`` in full precision, on the device where the network is.
    """
    numerics = numerics or Numerics(str(next(itertools.chain(net.parameters(), net.buffers())).device), "float32")
    net.eval()
    rows = []
    with torch.inference_mode(), numerics.autocast():
        for start in range(0, len(pictures), PLAIN_BATCH):
            some = np.arange(start, min(start + PLAIN_BATCH, len(pictures)))
            rows.append(net(plain(pictures, some, preprocessing, numerics)).float().cpu())
    return torch.cat(rows).clone()  # a clone, since what is made in inference mode can learn no more
