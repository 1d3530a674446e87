"""The search for kernels that are exact."""

from __future__ import annotations

import pytest
import torch

from paceline.multiplex.lower.rules import kernel_key
from paceline.multiplex.numerics import exact_kernels, is_exact
from paceline.multiplex.op import Value
from tests.multiplex.made import NETS, Maker, mlp

CPU = torch.device("cpu")


@pytest.mark.parametrize("net", NETS)
def test_exact_kernels_are_found_for_each_net(net: str) -> None:
    graph = NETS[net]()
    kernels = exact_kernels(graph, 2, CPU)
    assert is_exact(graph, kernels, 2, CPU)


def test_the_search_gives_the_same_every_time() -> None:
    assert exact_kernels(mlp(), 1, CPU) == exact_kernels(mlp(), 1, CPU)


@pytest.mark.parametrize("width", [7, 10, 33])
def test_odd_widths_are_exact_too(width: int) -> None:
    make = Maker(torch.randn(1, width))
    graph = make.graph(make.linear(Value(0), width))
    kernels = exact_kernels(graph, 1, CPU)
    assert is_exact(graph, kernels, 1, CPU)
    assert kernels[kernel_key(graph, graph.ops[0])] is not None
