"""A program over many tenants computes what each gets alone, in every variant."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from paceline.multiplex.lower.group import Group
from paceline.multiplex.lower.program import Loop, build
from paceline.multiplex.lower.rules import EACH, kernel_key, variants
from paceline.multiplex.op import Graph, Rows, Value
from tests.multiplex.made import NETS, Maker, interpreted, random_weights, recurrent

MORE = {
    **NETS,
    "gru": lambda: recurrent("gru.input"),
    "rnn-tanh": lambda: recurrent("rnn_tanh.input"),
    "rnn-relu": lambda: recurrent("rnn_relu.input"),
    "lstm-two-ways": lambda: recurrent(bidirectional=True),
    "gru-two-ways": lambda: recurrent("gru.input", bidirectional=True),
}


def group_of(weights: list[dict[str, Tensor]], shared: set[str] = frozenset()) -> Group:  # type: ignore[assignment]
    stacked = {name: torch.stack([each[name] for each in weights]) for name in weights[0] if name not in shared}
    return Group(len(weights), {name: weights[0][name] for name in shared}, stacked)


def check(graph: Graph, num_tenants: int, num_rows: int, *, shared: set[str] = frozenset(), kernels=None) -> int:  # type: ignore
    """Compares every tenant's result with its own alone; gives the number of ops in a loop."""
    weights = random_weights(graph, num_tenants)
    for each in weights:
        each.update({name: weights[0][name] for name in shared})
    program = build(graph, group_of(weights, shared), kernels)
    inputs = [[torch.randn(spec.sizes(num_rows)) for _ in range(num_tenants)] for spec in graph.inputs]
    before = [[each.clone() for each in column] for column in inputs]
    made = program(inputs)
    for tenant, own in enumerate(weights):
        expected = interpreted(graph, own, tuple(column[tenant] for column in inputs))
        for column, value in zip(made, expected, strict=True):
            torch.testing.assert_close(column[tenant], value, rtol=1e-4, atol=1e-5)
    for column, old in zip(inputs, before, strict=True):
        assert all(map(torch.equal, column, old)), "an input was written over"
    return program.num_loop_ops


@pytest.mark.parametrize("net", MORE)
@pytest.mark.parametrize(("num_tenants", "num_rows"), [(1, 1), (3, 1), (1, 2), (4, 3)])
def test_different_weights(net: str, num_tenants: int, num_rows: int) -> None:
    torch.manual_seed(0)
    assert check(MORE[net](), num_tenants, num_rows) == 0


@pytest.mark.parametrize("net", NETS)
def test_same_weights(net: str) -> None:
    torch.manual_seed(0)
    graph = NETS[net]()
    assert check(graph, 3, 2, shared=set(graph.weights)) == 0


@settings(max_examples=20, deadline=None)
@given(data=st.data(), net=st.sampled_from(sorted(NETS)))
def test_some_weights_the_same(data: st.DataObject, net: str) -> None:
    torch.manual_seed(0)
    graph = NETS[net]()
    shared = data.draw(st.sets(st.sampled_from(sorted(graph.weights))))
    check(graph, 3, data.draw(st.integers(1, 3)), shared=shared)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("num_rows", [1, 2])
def test_every_variant(net: str, num_rows: int) -> None:
    torch.manual_seed(0)
    graph = NETS[net]()
    names = frozenset(graph.weights)
    for op in graph.ops:
        for variant in (*variants(graph, op, names), EACH):
            check(graph, 3, num_rows, kernels={kernel_key(graph, op): variant})


def test_variants_in_company() -> None:
    torch.manual_seed(0)
    graph = NETS["resnet"]()
    names = frozenset(graph.weights)
    last = {kernel_key(graph, op): variants(graph, op, names)[-1] for op in graph.ops}
    check(graph, 3, 2, kernels=last)


@pytest.mark.parametrize("net", NETS)
def test_the_loop_is_the_plain_program_of_each(net: str) -> None:
    torch.manual_seed(0)
    graph = NETS[net]()
    weights = random_weights(graph, 3)
    loop = Loop(tuple(build(graph, Group(1, each, {})) for each in weights))
    inputs = [torch.randn(graph.inputs[0].sizes(2)) for _ in weights]
    for tenant, made in enumerate(loop([inputs])[0]):
        torch.testing.assert_close(made, interpreted(graph, weights[tenant], (inputs[tenant],))[0])


def test_nan_stays_with_its_tenant_and_row() -> None:
    torch.manual_seed(0)
    for make in NETS.values():
        graph = make()
        program = build(graph, group_of(random_weights(graph, 3)))
        inputs = [torch.randn(graph.inputs[0].sizes(2)) for _ in range(3)]
        inputs[1][1] = float("nan")
        first, second, third = program([inputs])[0]
        assert all(each.isfinite().all() for each in (first, second[0], third))
        assert second[1].isnan().any()


# ── single operators ─────────────────────────────────────────────────────────────────────────────


def test_group_norm_before_and_after_a_convolution() -> None:
    torch.manual_seed(0)
    make = Maker(torch.randn(1, 4, 6, 6))
    x = make("group_norm.default", Value(0), 2, make.weight(4), make.weight(4), 1e-5)
    x = make("group_norm.default", make.conv(x, 4), 2, make.weight(4), make.weight(4), 1e-5)
    assert check(make.graph(x), 3, 2) == 0


def test_batch_normalisation_as_scale_and_shift() -> None:
    torch.manual_seed(0)
    make = Maker(torch.randn(1, 4, 6, 6))
    x = make("mul.Tensor", make.conv(Value(0), 4), make.weight(4, 1, 1))
    x = make("add.Tensor", x, make.weight(4, 1, 1))
    graph = make.graph(make("max_pool2d.default", x, [2, 2]))
    assert check(graph, 3, 2) == 0
    assert check(graph, 3, 2, shared={"weight2"}) == 0


def test_positions_added_and_a_token_put_before() -> None:
    torch.manual_seed(0)
    make = Maker(torch.randn(1, 3, 8))
    token = make("expand.default", make.weight(1, 1, 8), [Rows(), 1, 8])
    x = make("cat.default", [token, Value(0)], 1)
    x = make("add.Tensor", x, make.weight(1, 4, 8))
    assert check(make.graph(make.linear(x, 5)), 3, 2) == 0


def test_what_depends_on_weights_alone_is_computed_once() -> None:
    torch.manual_seed(0)
    make = Maker(torch.randn(1, 8))
    half = make("mul.Tensor", make.weight(8), 0.5)
    graph = make.graph(make("add.Tensor", Value(0), half))
    assert check(graph, 3, 2) == 0
    assert check(graph, 3, 2, shared={"weight0"}) == 0


def test_matrix_product_with_a_weight() -> None:
    torch.manual_seed(0)
    make = Maker(torch.randn(1, 5, 8))
    assert check(make.graph(make("matmul.default", Value(0), make.weight(8, 6))), 3, 2) == 0


def test_embedding_refuses_numbers_of_another_tenant() -> None:
    torch.manual_seed(0)
    make = Maker(torch.zeros((1, 4), dtype=torch.int64))
    graph = make.graph(make("embedding.default", make.weight(10, 6), Value(0)))
    weights = random_weights(graph, 3)
    program = build(graph, group_of(weights))
    ids = [torch.randint(0, 10, (2, 4)) for _ in range(3)]
    for tenant, made in enumerate(program([ids])[0]):
        assert torch.equal(made, weights[tenant]["weight0"][ids[tenant]])
    ids[1][0, 0] = 10
    with pytest.raises(RuntimeError, match="out of bounds"):
        program([ids])


def test_biases_that_alone_differ_copy_no_matrix() -> None:
    torch.manual_seed(0)
    make = Maker(torch.randn(1, 3, 6, 6))
    x = make("reshape.default", make.conv(Value(0), 4), [Rows(), 144])
    graph = make.graph(make.linear(x, 5))
    kernels = {name for name, spec in graph.weights.items() if len(spec.shape) > 1}
    assert check(graph, 3, 2, shared=kernels) == 0
    weights = random_weights(graph, 3)
    group = group_of(weights, kernels)
    build(graph, group)
    assert group.own_bytes == 0


def test_an_operator_without_a_rule_runs_in_a_loop() -> None:
    torch.manual_seed(0)
    make = Maker(torch.randn(1, 3, 8))
    x = make.linear(make("conv1d.default", Value(0), make.weight(4, 3, 3), None, [1], "same"), 8)
    assert check(make.graph(x), 3, 2) == 1


def test_convolutions_with_groups_and_in_one_dimension() -> None:
    torch.manual_seed(0)
    make = Maker(torch.randn(1, 4, 8))
    x = make("conv1d.default", Value(0), make.weight(6, 2, 3), make.weight(6), [1], [1], [1], 2)
    assert check(make.graph(make("relu.default", x)), 3, 2) == 0


def test_a_value_read_again_is_not_written_over() -> None:
    torch.manual_seed(0)
    make = Maker(torch.randn(1, 8))
    x = make.linear(Value(0), 8)
    y = make("relu.default", x)
    z = make("reshape.default", x, [Rows(), 2, 4])
    z = make("sigmoid.default", z)
    graph = make.graph(y, z, make("tanh.default", x), x)
    assert check(graph, 3, 2) == 0


def test_a_view_keeps_what_it_looks_at() -> None:
    torch.manual_seed(0)
    make = Maker(torch.randn(1, 8))
    x = make.linear(Value(0), 8)
    first, second = Value(make("split_with_sizes.default", x, [4, 4], -1).index), Value(len(make.values) - 1)
    y = make("relu.default", first)
    assert check(make.graph(make("add.Tensor", y, make("mul.Tensor", first, second))), 3, 2) == 0
