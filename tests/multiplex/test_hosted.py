"""What a model takes is checked before anything is queued."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from paceline.errors import ConfigError, InvalidRequest
from paceline.multiplex.capture import capture
from paceline.multiplex.family import Family
from paceline.multiplex.hosted import Hosted, Signature, seconds, structured
from paceline.multiplex.tenant import MAX_ROWS, TenantSpec
from tests.multiplex.runtimes import X, small


class TwoInputs(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": a + b, "product": a * b}


EXAMPLES = (torch.zeros(1, 2, 3), torch.zeros(1, 1, 3))


@pytest.fixture(scope="module")
def signature() -> Signature:
    return Signature(capture(TwoInputs().eval(), EXAMPLES).graph, torch.device("cpu"))


def test_rows_are_counted(signature: Signature) -> None:
    assert signature.num_rows((torch.zeros(5, 2, 3), torch.zeros(5, 1, 3)), "m") == 5


A, B = EXAMPLES


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ((), "m takes 2 inputs, got 0"),
        ((A, B, B), "m takes 2 inputs, got 3"),
        ((A, "x"), "input 1 of m must be float32 of shape .rows, 1, 3. with 1 to 65536 rows, got str"),
        ((A.double(), B), "input 0 .* got float64 of shape .1, 2, 3."),
        ((A[0], B), "input 0 .* got float32 of shape .2, 3."),
        ((torch.tensor(1.0), B), "input 0 .* got float32 of shape .. "),
        ((torch.zeros(1, 3, 2), B), "input 0 .* got float32 of shape .1, 3, 2."),
        ((A[:0], B[:0]), "input 0 .* got 0 rows"),
        ((A, B[:0]), "input 1 .* got 0 rows, and 1 in others"),
        ((A, torch.zeros(2, 1, 3)), "input 1 .* got 2 rows, and 1 in others"),
        ((A.to("meta"), B), "input 0 .* got .* on meta"),
        ((A.to_sparse(), B), "input 0 .* got .*sparse"),
        ((A.expand(MAX_ROWS + 1, 2, 3), B.expand(MAX_ROWS + 1, 1, 3)), f"input 0 .* got {MAX_ROWS + 1} rows"),
    ],
)
def test_what_does_not_fit_is_refused(signature: Signature, inputs: tuple[Any, ...], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        signature.num_rows(inputs, "m")


def test_people_see_names_and_shapes(signature: Signature) -> None:
    assert [(each.name, each.shape) for each in signature.inputs] == [("input_0", (-1, 2, 3)), ("input_1", (-1, 1, 3))]
    assert [each.name for each in signature.outputs] == ["sum", "product"]


def test_outputs_are_put_together_as_the_model_does(signature: Signature) -> None:
    one, two = torch.zeros(1), torch.ones(1)
    assert signature.structured((one, two)) == {"sum": one, "product": two}
    assert structured("tensor")((one,)) is one
    assert structured("tuple")([one]) == (one,)


def hosted(*, from_folder: bool) -> Hosted:
    captured = capture(small(), (X,))
    family = Family(captured.graph)
    names = {name: name for name in captured.weights}
    spec = TenantSpec(name="m", family="f", segments=("f/0",), slo_s=1.0)
    recipe = None if from_folder else captured.recipe
    return Hosted(spec, family, 0, Signature(captured.graph, family.device), recipe, names)


@pytest.mark.parametrize("from_folder", [False, True])
def test_a_state_that_does_not_fit_is_refused(from_folder: bool) -> None:
    model, state = hosted(from_folder=from_folder), small(1).state_dict()
    assert torch.equal(model.weights(state)["0.weight"], state["0.weight"])
    with pytest.raises(InvalidRequest, match=r"0\.weight"):
        model.weights({name: each for name, each in state.items() if name != "0.weight"})
    with pytest.raises(InvalidRequest, match=r"must be float32 of shape \[8, 4\], got float32 of shape \[4, 8\]"):
        model.weights({**state, "0.weight": state["0.weight"].t()})
    with pytest.raises(InvalidRequest, match="got float64"):
        model.weights({**state, "0.weight": state["0.weight"].double()})


def test_durations() -> None:
    assert [seconds(text, "slo") for text in ("25ms", "2s", 3)] == [0.025, 2.0, 3.0]
    for wrong in ("fast", "ms", "5min", ""):
        with pytest.raises(ConfigError, match="slo must be seconds"):
            seconds(wrong, "slo")
