"""With whom a model runs, or why not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paceline.errors import InvalidRequest
from paceline.multiplex.architectures import adapted, mlp
from tests.multiplex.runtimes import SLOW, Branching, X, serving, small


class Random(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return x + self.count


class Mixing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(dim=0)


@pytest.mark.parametrize("model", [Branching(), Random(), Counting(), Mixing(), nn.Dropout(0.5).train()])
def test_why_a_model_is_served_alone(model: nn.Module) -> None:
    with serving({"a": small()}) as runtime:
        info = runtime.register("own", model, X, slo=SLOW)
        explained = runtime.explain("own")
        assert not info.coalescible
        assert explained.reasons == info.reasons
        assert explained.reasons
        assert str(explained) == f"own runs by itself: {'; '.join(info.reasons)}"
        assert runtime.infer_sync("own", X).shape[0] == 1
        assert runtime.explain("a").partners == ()


def test_partners_and_shared_weights() -> None:
    base = mlp(width=4, num_layers=2)
    with serving({str(place): adapted(base=base, rank=2).eval() for place in range(8)}) as runtime:
        explained = runtime.explain("2")
        assert explained.partners == ("0", "1", "3", "4", "5", "6", "7")
        assert 0 < explained.num_shared < explained.num_weights
        assert "runs with 0, 1, 3, 4, 5 and 2 more" in str(explained)


def test_a_model_without_company() -> None:
    with serving({"a": small(), "b": small(0, width=5)}) as runtime:
        assert "but there are no others" in str(runtime.explain("a"))
        with pytest.raises(InvalidRequest):
            runtime.explain("nobody")
