"""What is written: straight lines of names, nothing of the model's own text."""

from __future__ import annotations

import dis

import torch

from paceline.multiplex.lower.group import Group
from paceline.multiplex.lower.program import build
from paceline.multiplex.lower.writer import Name, _text
from paceline.multiplex.op import Value
from tests.multiplex.made import NETS, Maker, random_weights


def test_programs_hold_no_loops_and_no_branches() -> None:
    for make in NETS.values():
        graph = make()
        (weights,) = random_weights(graph, 1)
        code = build(graph, Group(1, weights, {})).function.__code__
        assert not any("JUMP" in each.opname or "IMPORT" in each.opname for each in dis.get_instructions(code))


def test_text_of_a_model_never_becomes_code() -> None:
    make = Maker(torch.randn(1, 4))
    x = make("gelu.default", make.linear(Value(0), 4), approximate="tanh")
    graph = make.graph(x)
    (weights,) = random_weights(graph, 1)
    code = build(graph, Group(1, weights, {})).function.__code__
    assert all(name[0] in "cvx" and name[1:].isdigit() for name in (*code.co_names, *code.co_varnames))
    assert set(code.co_consts) == {None}


def test_variables_are_dropped_after_their_last_use() -> None:
    lines = [((Name("v1"),), "c0(x0)", (Name("x0"),)), ((Name("v2"),), "c1(v1)", (Name("v1"),))]
    assert _text((Name("x0"),), lines, [Name("v2")]).split("\n ") == [
        "def program(x0):",
        "v1 = c0(x0)",
        "v2 = c1(v1)",
        "del v1",
        "return (v2,)",
    ]


def test_equal_text_is_compiled_once() -> None:
    graph = NETS["mlp"]()
    first, second = (build(graph, Group(1, each, {})) for each in random_weights(graph, 2))
    assert first.function.__code__ is second.function.__code__
