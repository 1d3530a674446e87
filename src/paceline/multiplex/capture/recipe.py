"""How the weights of a graph follow from the state of the model that it was captured from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import torch

from paceline.errors import InvalidRequest
from paceline.multiplex.capture.evaluate import call, dtype_name
from paceline.multiplex.op import Op, Spec, Value, Weight, reads


class Step(msgspec.Struct, frozen=True):
    """``names`` are the results of ``op``, which reads weights alone."""

    names: tuple[str, ...]
    op: Op


@dataclass(frozen=True, slots=True)
class Recipe:
    """``sources`` are the parameters and buffers it reads; ``constants`` stay what they are whatever the state."""

    sources: Mapping[str, Spec]
    constants: Mapping[str, torch.Tensor]
    steps: tuple[Step, ...]
    names: tuple[str, ...]

    @property
    def made(self) -> frozenset[str]:
        """The weights that are computed; others are the model's own."""
        return frozenset(name for step in self.steps for name in step.names)

    def weights(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The graph's weights for a state as ``state_dict()`` gives it.

        Those that go in unchanged share their memory with ``state``, those that are computed with nothing. Raises InvalidRequest if one is missing or has
        another shape or type.
        """
        held = {name: _checked(name, spec, state) for name, spec in self.sources.items()} | dict(self.constants)
        held = {name: tensor.detach() for name, tensor in held.items()}
        for step in self.steps:
            held.update(zip(step.names, computed(step.op, held), strict=True))
        made = self.made
        return {
            name: held[name].clone(memory_format=torch.contiguous_format) if name in made else held[name].contiguous()
            for name in self.names
        }


def _checked(name: str, spec: Spec, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
    if name not in state:
        raise InvalidRequest(f"the state has no {name!r}", param="state_dict")
    found = Spec(tuple(state[name].shape), dtype_name(state[name].dtype))
    if found != spec:
        need, have = (f"{each.dtype} of shape {list(each.shape)}" for each in (spec, found))
        raise InvalidRequest(f"{name!r} must be {need}, got {have}", param="state_dict")
    return state[name]


def computed(op: Op, weights: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """What an op of weights alone gives, on their device. Raises what torch raises."""

    def read(tensor: Value | Weight) -> torch.Tensor:
        assert isinstance(tensor, Weight)
        return weights[tensor.name]

    with torch.no_grad():
        results = call(op, read, 1)
    if not any(True for _ in reads(op)) and weights:  # a constant, made on the processor
        results = tuple(result.to(next(iter(weights.values())).device) for result in results)
    return results
