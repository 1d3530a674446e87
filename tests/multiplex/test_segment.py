"""Cutting a graph: nothing is lost, few values are carried, blocks that repeat get equal keys."""

from __future__ import annotations

import pytest
import torch

from paceline.multiplex.op import Graph, Value, family_key
from paceline.multiplex.segment import cut
from tests.multiplex.made import NETS, Maker, interpreted, mlp, random_weights


def through(segments: tuple[Graph, ...], weights: dict[str, torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    state: tuple[torch.Tensor, ...] = (x,)
    for segment in segments:
        state = interpreted(segment, weights, state)
    return state


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("target_s", [0.5, 3.0, 7.0])
def test_segments_in_order_compute_what_the_graph_computes(net: str, target_s: float) -> None:
    torch.manual_seed(0)
    graph = NETS[net]()
    (weights,) = random_weights(graph, 1)
    x = torch.randn(graph.inputs[0].sizes(2))
    segments = cut(graph, [1.0] * len(graph.ops), target_s)
    assert len(segments) > 1 or len(graph.ops) <= target_s or net == "lstm"
    assert all(
        torch.equal(a, b) for a, b in zip(through(segments, weights, x), interpreted(graph, weights, (x,)), strict=True)
    )


def test_a_cheap_graph_stays_whole() -> None:
    graph = mlp()
    assert cut(graph, [1e-6] * len(graph.ops), 1.0) == (graph,)


def test_blocks_that_repeat_get_equal_keys() -> None:
    graph = mlp(width=16, num_layers=6)
    segments = cut(graph, [1.0] * len(graph.ops), 3.0)
    assert len({family_key(each) for each in segments[:6]}) == 1


def test_small_blocks_are_joined_up_to_the_target() -> None:
    graph = mlp(width=16, num_layers=6)
    segments = cut(graph, [1.0] * len(graph.ops), 6.0)
    assert [len(each.ops) for each in segments[:3]] == [6, 6, 6]


def test_cuts_lie_where_one_value_lives() -> None:
    make = Maker(torch.randn(1, 8))
    x = Value(0)
    for _ in range(4):
        x = make("add.Tensor", x, make("relu.default", make.linear(x, 8)))
    segments = cut(make.graph(x), [1.0] * 12, 1.0)
    assert [len(each.inputs) for each in segments] == [1] * 4


def test_the_last_segment_keeps_the_structure() -> None:
    make = Maker(torch.randn(1, 8))
    first = make("relu.default", make.linear(Value(0), 8))
    second = make("relu.default", make.linear(first, 8))
    segments = cut(make.graph(first, second), [1.0] * 4, 1.0)
    assert segments[-1].structure == "tuple"
    assert len(segments[-1].outputs) == 2


def test_weights_are_those_that_the_segment_reads() -> None:
    graph = mlp()
    segments = cut(graph, [1.0] * len(graph.ops), 1.0)
    assert sum(len(each.weights) for each in segments) == len(graph.weights)
