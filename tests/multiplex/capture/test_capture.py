from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import nn

from paceline.errors import InvalidRequest
from paceline.multiplex.capture import NotCapturable, capture, interpret
from paceline.multiplex.capture.check import flat
from paceline.multiplex.capture.normal import renormalised
from paceline.multiplex.op import Rows, Weight, family_key, reads
from paceline.multiplex.operators import OPERATORS, RECURRENT
from tests.multiplex.capture.models import REFUSED, TAKEN, Residual, mlp, residual


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", TAKEN)
def test_graph_equals_model_at_any_number_of_rows(name: str) -> None:
    model, examples = TAKEN[name]()
    captured = capture(model, examples)
    for num_rows in (1, 2, 5, 8):
        inputs = [example[torch.arange(num_rows) % 2] for example in examples]
        with torch.no_grad():
            expected, structure, names = flat(model(*(each.clone() for each in inputs)))
        found = interpret(captured.graph, captured.weights, inputs)
        assert (captured.graph.structure, captured.graph.names) == (structure, names)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, equal_nan=True)
    check_form(captured.graph, captured.weights)


def check_form(graph, weights) -> None:
    assert {op.target for op in graph.ops} <= OPERATORS
    assert renormalised(graph, weights) == graph
    for op in graph.ops:
        for spec in op.outputs[:1] if op.target in RECURRENT else op.outputs:
            assert isinstance(spec.shape[0], Rows)
            assert not any(isinstance(size, Rows) for size in spec.shape[1:])
    used = {tensor.name for op in graph.ops for tensor in reads(op) if isinstance(tensor, Weight)}
    assert used == weights.keys() == graph.weights.keys()
    assert all(weight.is_contiguous() and not weight.requires_grad for weight in weights.values())


@pytest.mark.parametrize("name", REFUSED)
def test_model_is_refused_with_the_reason(name: str) -> None:
    make, reason = REFUSED[name]
    model, examples = make()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    kept = [example.clone() for example in examples]
    with pytest.raises(NotCapturable, match=reason) as caught:
        capture(model, examples)
    assert caught.value.reasons
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(map(torch.equal, examples, kept))


def test_examples_must_have_rows_in_common() -> None:
    model = nn.Bilinear(3, 3, 2)
    with pytest.raises(NotCapturable, match=r"same number of rows.*\[1, 2\]"):
        capture(model, (torch.zeros(1, 3), torch.zeros(2, 3)))
    with pytest.raises(NotCapturable, match="at least one"):
        capture(model, (torch.zeros(0, 3), torch.zeros(0, 3)))
    with pytest.raises(NotCapturable, match="not all tensors"):
        capture(model, ())


def test_models_of_one_kind_are_of_one_family_whatever_their_numbers() -> None:
    keys = set()
    for seed in range(2):
        torch.manual_seed(seed)
        keys.add(family_key(capture(*residual()).graph))
    assert len(keys) == 1
    assert family_key(capture(*mlp()).graph) not in keys


def test_batch_norm_goes_into_the_convolution_before_it() -> None:
    captured = capture(*residual())
    assert [op.target for op in captured.graph.ops][:2] == ["aten.conv2d.default", "aten.relu.default"]
    assert not any("norm" in op.target or "mul" in op.target for op in captured.graph.ops)


def test_batch_norm_that_cannot_go_elsewhere_is_a_factor_and_a_summand() -> None:
    model = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)).eval()
    captured = capture(model, (torch.randn(2, 3, 4, 4),))
    assert captured.weights["1.scale"].shape == captured.weights["1.shift"].shape == (3, 1, 1)


def test_convolution_that_is_read_twice_keeps_its_weights() -> None:
    class Twice(Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            y = self.conv1(x)
            return self.norm1(y) + y

    captured = capture(Twice().eval(), (torch.randn(2, 3, 8, 8),))
    assert "conv1.weight" in captured.weights


def test_weights_share_memory_with_the_model_where_they_can() -> None:
    model, examples = mlp()
    captured = capture(model, examples)
    assert {weight.data_ptr() for weight in captured.weights.values()} == {p.data_ptr() for p in model.parameters()}


def test_recipe_makes_the_weights_of_another_state() -> None:
    model, examples = residual()
    captured = capture(model, examples)
    other, _ = residual()
    weights = captured.recipe.weights(other.state_dict())
    with torch.no_grad():
        expected = other(*examples)
    found = interpret(captured.graph, weights, examples)
    torch.testing.assert_close(list(found), list(expected.values()), rtol=1e-4, atol=1e-5)


def test_recipe_names_what_is_wrong_with_a_state() -> None:
    model, examples = residual()
    recipe = capture(model, examples).recipe
    state = model.state_dict()
    with pytest.raises(InvalidRequest, match=r"'head.weight' must be float32 of shape \[2, 8\], got .* \[1, 8\]"):
        recipe.weights(state | {"head.weight": torch.zeros(1, 8)})
    del state["conv1.weight"]
    with pytest.raises(InvalidRequest, match=r"no 'conv1.weight'"):
        recipe.weights(state)


def test_buffers_that_are_not_saved_belong_to_the_recipe() -> None:
    model = nn.Linear(3, 3)
    model.register_buffer("places", torch.arange(3.0), persistent=False)
    model.forward = lambda x: nn.functional.linear(x, model.weight) + model.places  # type: ignore[method-assign]
    captured = capture(model, (torch.zeros(1, 3),))
    assert captured.recipe.weights(model.state_dict()).keys() == {"weight", "places"}


def test_like_captures_a_twin_without_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, examples = residual()
    captured = capture(model, examples)
    monkeypatch.setattr("paceline.multiplex.capture.export", None)
    twin, _ = residual()
    found = captured.like(twin, examples)
    assert found is not None
    assert found.graph is captured.graph
    with torch.no_grad():
        expected = twin(*examples)
    torch.testing.assert_close(
        list(interpret(found.graph, found.weights, examples)), list(expected.values()), rtol=1e-4, atol=1e-5
    )


def test_like_knows_what_is_no_twin() -> None:
    model, examples = mlp()
    captured = capture(model, examples)
    other, _ = mlp()
    assert captured.like(other, (torch.randn(2, 8, dtype=torch.float64),)) is None
    other[1].eps = 1e-3
    assert captured.like(other, examples) is None
    assert captured.like(nn.Sequential(*[*other][:2]), examples) is None


def test_like_refuses_a_twin_that_computes_something_else() -> None:
    model = nn.Linear(8, 8)
    captured = capture(model, (torch.randn(2, 8),))
    other = nn.Linear(8, 8)
    Changed = type(
        "Linear", (nn.Linear,), {"scale": 2.0, "forward": lambda self, x: nn.Linear.forward(self, x) * self.scale}
    )
    first, second = Changed(8, 8), Changed(8, 8)
    captured = capture(first, (torch.randn(2, 8),))
    Changed.scale = 3.0  # what no option shows
    with pytest.raises(NotCapturable, match="something else"):
        captured.like(second, (torch.randn(2, 8),))
    assert captured.like(other, (torch.randn(2, 8),)) is None


class Meanwhile(nn.Module):
    """Whenever it runs, traced or not, another thread does something."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        thread = threading.Thread(target=self.act)
        thread.start()
        thread.join()
        return self.layer(x)


def test_a_model_that_another_thread_runs_meanwhile_stays_out_of_the_trace() -> None:
    other, x = nn.Sequential(nn.Linear(3, 5), nn.ReLU()), torch.randn(2, 3)
    made: list[torch.Tensor] = []
    captured = capture(Meanwhile(lambda: made.append(other(x))).eval(), (torch.zeros(1, 4),))
    assert [op.target for op in captured.graph.ops] == ["aten.linear.default"]
    assert len(made) == 4  # once while traced, then compared on the example, on 1 row and on 3
    assert all(each.equal(other(x)) for each in made)
