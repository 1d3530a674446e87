from __future__ import annotations

import pytest
import torch

from paceline.multiplex.capture import NotCapturable, capture, symbolic
from paceline.multiplex.capture.normal import normalise
from paceline.multiplex.op import Rows, Spec, family_key
from tests.multiplex.capture.models import TAKEN, Case, of


@pytest.mark.parametrize("name", ["mlp", "residual", "lstm both ways", "encoder", "class token", "fixed mask"])
def test_both_ways_give_the_same_family(name: str) -> None:
    model, examples = TAKEN[name]()
    captured = capture(model, examples)
    inputs = [
        Spec((Rows(), *each.shape[1:]), spec.dtype) for each, spec in zip(examples, captured.graph.inputs, strict=True)
    ]
    graph, _ = normalise(symbolic.trace(model, examples), inputs)
    assert family_key(graph) == family_key(
        type(graph)(captured.graph.inputs, captured.graph.ops, captured.graph.outputs, captured.graph.weights, "tuple")
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (of(lambda _, x: x * 2 if len(x) > 8 else x + x), "in their own way"),
        (of(lambda _, x: x + torch.tensor([1.0] * len(x)).sum()), "constant that depends on the number of rows"),
        (of(lambda _, x: x[: len(x) - 1]), "no multiple"),
        (of(lambda _, x: x * 2 if x.sum() > 0 else x), "control flow"),
        (of(lambda _, x: x.data * 2), "behind the tracer's back"),
        (of(lambda _, x: {"a": [x]}), "not made of tensors"),
    ],
)
def test_what_no_tracer_can_follow_is_refused(make, reason: str) -> None:
    model, examples = make()
    with pytest.raises(NotCapturable, match=reason):
        symbolic.trace(model, examples)


def test_sizes_that_follow_the_rows_are_recognised() -> None:
    case: Case = of(lambda _, x: x.reshape(len(x) * 5, 8))()
    (call,) = symbolic.trace(*case).calls
    assert call.args[1] == [Rows(5), 8]
