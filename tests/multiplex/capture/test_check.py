from __future__ import annotations

import msgspec
import pytest
import torch
from torch import nn

from paceline.multiplex.capture import NotCapturable, capture
from paceline.multiplex.capture.check import check_same, flat, varied
from paceline.multiplex.op import Many, Op


def test_a_graph_that_computes_something_else_is_noticed() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    examples = (torch.randn(2, 4),)
    captured = capture(model, examples)
    first, second = captured.graph.ops
    wrong = msgspec.structs.replace(captured.graph, ops=(first, Op("aten.silu.default", second.args, second.outputs)))
    with pytest.raises(NotCapturable, match="something else on 2 rows"):
        check_same(wrong, captured.weights, model, examples)


def test_rows_that_depend_on_each_other_are_noticed() -> None:
    class Mixing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flip(0)

    captured = capture(nn.ReLU(), (torch.randn(2, 4),))
    op = captured.graph.ops[0]
    mixing = msgspec.structs.replace(
        captured.graph, ops=(Op("aten.roll.default", (op.args[0], Many((1,)), Many((0,))), op.outputs),)
    )
    with pytest.raises(NotCapturable, match=r"other rows|something else"):
        check_same(mixing, {}, Mixing(), (torch.ones(2, 4),))


def test_varied_rows_differ_and_whole_numbers_stay_known() -> None:
    assert len(varied(torch.zeros(1, 4), 3).unique(dim=0)) == 3
    numbers = varied(torch.tensor([[5, 7, 9]]), 3)
    assert numbers.unique().tolist() == [5, 7, 9]
    assert len(numbers.unique(dim=0)) == 3


@pytest.mark.parametrize("output", [None, (), {}, "text", [None], {1: torch.zeros(1)}])
def test_only_tensors_can_be_returned(output: object) -> None:
    with pytest.raises(NotCapturable, match="not made of tensors"):
        flat(output)
