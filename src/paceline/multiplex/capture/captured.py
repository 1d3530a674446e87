"""From a module to a graph: trace, normalise, compare.

>>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 2)).eval()
>>> captured = capture(model, (torch.zeros(1, 4),))
>>> [op.target for op in captured.graph.ops]
['aten.linear.default', 'aten.relu.default', 'aten.linear.default']
>>> captured.graph.specs()[-1].sizes(5)
(5, 2)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
import torch
from torch import nn

from paceline.multiplex.capture import symbolic
from paceline.multiplex.capture.check import check_same
from paceline.multiplex.capture.evaluate import dtype_name
from paceline.multiplex.capture.export import export, read, taken_apart
from paceline.multiplex.capture.likeness import Likeness, likeness
from paceline.multiplex.capture.normal import normalise
from paceline.multiplex.capture.plain import state_of
from paceline.multiplex.capture.recipe import Recipe
from paceline.multiplex.capture.traced import NotCapturable, Traced
from paceline.multiplex.op import Graph, Rows, Spec


@dataclass(frozen=True, eq=False)
class Captured:
    """A model as a graph, and one tenant's weights for it.

    ``weights`` are detached and contiguous; those that go in unchanged share their memory with the module. ``recipe``
    makes them anew from another state of the same module.
    """

    graph: Graph
    weights: dict[str, torch.Tensor]
    recipe: Recipe
    likeness: Likeness | None = field(default=None, repr=False)

    def like(self, model: nn.Module, example_inputs: tuple[torch.Tensor, ...]) -> Captured | None:
        """A model of the same modules and options, captured without tracing it; None if it is not plainly such a one.

        Ten to a hundred times cheaper than ``capture``; computed weights that are equal are shared. Raises NotCapturable
        if the model computes something else after all.
        """
        if self.likeness is None or self.likeness != likeness(model) or _specs(example_inputs) != self.graph.inputs:
            return None
        state = state_of(model)
        own = {name: state.get(name, constant) for name, constant in self.recipe.constants.items()}
        recipe = replace(self.recipe, constants=own)
        weights = recipe.weights(state)
        for name in recipe.made & weights.keys():
            if weights[name].equal(self.weights[name]):  # of a base that both have: one copy is enough
                weights[name] = self.weights[name]
        check_same(self.graph, weights, model, example_inputs)
        return replace(self, weights=weights, recipe=recipe)


def capture(model: nn.Module, example_inputs: tuple[torch.Tensor, ...]) -> Captured:
    """A graph that computes what ``model`` computes, for any number of rows (dimension 0 of every input).

    The graph is compared with the model on the examples, on one row and on three. Raises NotCapturable, which says
    why: control flow on numbers, random numbers, writes to buffers or inputs, training-mode dropout or batch
    normalisation, rows that mix or are fixed in number, results other than tensors, or an unknown operator.
    """
    _check_examples(example_inputs)
    problems: list[NotCapturable] = []

    def tried(trace: Callable[[], Traced]) -> Captured | None:
        try:
            traced = trace()
            graph, recipe = normalise(traced, _specs(example_inputs))
            weights = recipe.weights(traced.state)
            structure, names = check_same(graph, weights, model, example_inputs)
        except NotCapturable as error:
            problems.append(error)
            return None
        graph = msgspec.structs.replace(graph, structure=structure, names=names)
        return Captured(graph, weights, _kept(recipe, model, traced), likeness(model))

    found = None
    try:
        program = export(model, example_inputs)
    except NotCapturable as error:
        problems.append(error)
    else:
        found = tried(lambda: read(program)) or tried(lambda: read(taken_apart(program, model)))
    found = found or tried(lambda: symbolic.trace(model, example_inputs))
    if found is None:
        raise NotCapturable(*dict.fromkeys(reason for problem in problems for reason in problem.reasons))
    return found


def _check_examples(example_inputs: tuple[torch.Tensor, ...]) -> None:
    if not example_inputs or not all(isinstance(each, torch.Tensor) and each.dim() for each in example_inputs):
        raise NotCapturable("its inputs are not all tensors with rows in dimension 0")
    counts = {len(each) for each in example_inputs}
    if len(counts) > 1 or 0 in counts:
        raise NotCapturable(f"its example inputs must have the same number of rows, at least one; got {sorted(counts)}")


def _specs(example_inputs: tuple[torch.Tensor, ...]) -> tuple[Spec, ...]:
    return tuple(Spec((Rows(), *each.shape[1:]), dtype_name(each.dtype)) for each in example_inputs)


def _kept(recipe: Recipe, model: nn.Module, traced: Traced) -> Recipe:
    """The recipe with what no ``state_dict()`` holds."""
    saved = model.state_dict().keys()
    constants = {name: traced.state[name].detach().clone() for name in recipe.sources if name not in saved}
    sources = {name: spec for name, spec in recipe.sources.items() if name in saved}
    return replace(recipe, sources=sources, constants=constants)
