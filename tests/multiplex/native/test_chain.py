"""Kernels of chains against torch, on both ends of what processors can do; their bits against themselves in other company."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from paceline.multiplex.lower.chain import TABLE
from paceline.multiplex.lower.compare import same_bits
from paceline.multiplex.lower.group import Group
from paceline.multiplex.lower.program import Program, build
from paceline.multiplex.lower.rules import kernel_key, variants
from paceline.multiplex.native import library
from paceline.multiplex.native.chain import Aim, Chain, numbers
from paceline.multiplex.op import Graph, Rows, Value
from tests.multiplex.made import NETS, Maker, interpreted, random_weights

pytestmark = pytest.mark.skipif(library.level() is None, reason="the kernels were not built")


@pytest.fixture(params=["", "_basic"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The best instructions there are, or those that every processor has."""
    if request.param:
        real = library.load

        def load(*, holding: bool = False) -> Any:
            loaded = real(holding=holding)
            return type("Basic", (), {"paceline_chain_run": loaded.paceline_chain_run_basic})

        monkeypatch.setattr(library, "load", load)
    return str(request.param)


def program_of(graph: Graph, weights: list[dict[str, Tensor]]) -> Program:
    stacked = {name: torch.stack([each[name] for each in weights]) for name in graph.weights}
    program = build(graph, Group(len(weights), {}, stacked), {kernel_key(graph, op): TABLE for op in graph.ops})
    assert program.chain is not None
    return program


def linear(width: int, outputs: int, *, bias: bool = True) -> Graph:
    make = Maker(torch.randn(1, width))
    return make.graph(make.linear(Value(0), outputs, bias=bias))


def pointwise(target: str, **keywords: Any) -> Graph:
    make = Maker(torch.randn(1, 3, 19))
    x = make.linear(Value(0), 19)
    y = make(target, make("add.Tensor", x, Value(0)), **keywords)
    return make.graph(make("mul.Tensor", make("sub.Tensor", y, x), make.weight(3, 19)))


GRAPHS: dict[str, Callable[[], Graph]] = {
    "mlp": NETS["mlp"],
    "lstm": NETS["lstm"],
    "encoder": NETS["encoder"],
    "one number": lambda: linear(1, 1),
    "fewer than a vector": lambda: linear(5, 3, bias=False),
    "odd": lambda: linear(33, 17),
    "relu": lambda: pointwise("relu.default"),
    "sigmoid": lambda: pointwise("sigmoid.default"),
    "tanh": lambda: pointwise("tanh.default"),
    "silu": lambda: pointwise("silu.default"),
    "gelu": lambda: pointwise("gelu.default"),
    "gelu by tanh": lambda: pointwise("gelu.default", approximate="tanh"),
}


@pytest.mark.parametrize("name", ["mlp", "lstm", "odd", "one number", "fewer than a vector"])
@pytest.mark.parametrize("num_rows", [0, 1, 2, 3, 5, 8, 13, 40])
@pytest.mark.usefixtures("kernels")
def test_any_number_of_rows(name: str, num_rows: int) -> None:
    check(GRAPHS[name](), num_rows)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.usefixtures("kernels")
def test_every_operator(name: str) -> None:
    check(GRAPHS[name](), 3)


def check(graph: Graph, num_rows: int) -> None:
    torch.manual_seed(0)
    weights = random_weights(graph, 3)
    inputs = [torch.randn(graph.inputs[0].sizes(num_rows)) for _ in weights]
    (made,) = program_of(graph, weights)([inputs])
    for own, x, ours in zip(weights, inputs, made, strict=True):
        torch.testing.assert_close(ours, interpreted(graph, own, (x,))[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.usefixtures("kernels")
def test_bits_depend_on_nobody_else(name: str) -> None:
    """Any slots in any order, any rows beside one's own: rows get the bits that they have alone."""
    torch.manual_seed(0)
    graph = GRAPHS[name]()
    weights = random_weights(graph, 5)
    chain = program_of(graph, weights).chain
    assert chain is not None
    inputs = {slot: torch.randn(graph.inputs[0].sizes(20)) for slot in range(5)}
    alone = {
        (slot, place): run(chain, [slot], [x[place : place + 1]])[0]
        for slot, x in inputs.items()
        for place in range(20)
    }
    for slots, counts in (([3, 0, 4], [1, 20, 2]), ([4, 3, 2, 1, 0], [13, 1, 4, 7, 12]), ([2], [20])):
        made = run(chain, slots, [inputs[slot][:count] for slot, count in zip(slots, counts, strict=True)])
        for slot, count, rows in zip(slots, counts, made, strict=True):
            for place in range(count):
                assert same_bits(rows[place : place + 1], alone[slot, place])


def run(chain: Chain, slots: list[int], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    counts = [len(each) for each in inputs]
    (made,) = chain.run(numbers(slots), numbers(counts), sum(counts), [torch.cat(inputs)])
    return torch.split(made, counts)


@pytest.mark.usefixtures("kernels")
def test_nan_and_infinity_stay_in_their_rows() -> None:
    for name in ("mlp", "lstm", "encoder", "odd", "gelu"):
        torch.manual_seed(0)
        graph = GRAPHS[name]()
        chain = program_of(graph, random_weights(graph, 2)).chain
        assert chain is not None
        for odd in (float("nan"), float("inf")):
            x = torch.randn(graph.inputs[0].sizes(3))
            x[1] = odd
            made = run(chain, [0, 1], [x, torch.randn(graph.inputs[0].sizes(3))])
            assert made[0][[0, 2]].isfinite().all()
            assert made[1].isfinite().all()
            assert not made[0][1].isfinite().all()


def test_tensors_that_do_not_fit_are_refused() -> None:
    graph = linear(8, 4)
    program = program_of(graph, random_weights(graph, 2))
    for wrong in (torch.randn(2, 1, 7), torch.randn(3, 1, 8), torch.randn(2, 1, 8).double()):
        with pytest.raises(RuntimeError, match="chain"):
            program.function(wrong)
    strided = torch.randn(2, 8, 3).transpose(1, 2)
    torch.testing.assert_close(program.function(strided)[0], program.function(strided.contiguous())[0])


def test_a_value_returned_in_the_middle_and_a_view_of_it() -> None:
    torch.manual_seed(0)
    make = Maker(torch.randn(1, 4, 6))
    x = make.linear(Value(0), 6)
    y = make("transpose.int", x, 1, 2)
    last = make("select.int", make("relu.default", x), 1, -1)
    flat = make("reshape.default", x, [Rows(4), 6])
    graph = make.graph(x, y, last, make.linear(flat, 5))
    weights = random_weights(graph, 2)
    stacked = {name: torch.stack([each[name] for each in weights]) for name in graph.weights}
    program = build(graph, Group(2, {}, stacked), {kernel_key(graph, op): TABLE for op in graph.ops})
    inputs = [torch.randn(3, 4, 6) for _ in weights]
    made = program([inputs])
    for place, own in enumerate(weights):
        for column, expected in zip(made, interpreted(graph, own, (inputs[place],)), strict=True):
            torch.testing.assert_close(column[place], expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(library, "_PATH", tmp_path / "none.so")
    for function in (library.load, library.level):
        function.cache_clear()
    yield
    for function in (library.load, library.level):
        function.cache_clear()


@pytest.mark.usefixtures("missing")
def test_without_the_library_torch_does_all_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert library.level() is None
    assert "C++ compiler" in caplog.text
    graph = NETS["mlp"]()
    assert not any(TABLE in variants(graph, op, graph.weights) for op in graph.ops)


def test_an_aim_begins_with_all_slots_in_order() -> None:
    assert list(Aim(3).slots) == [0, 1, 2]
