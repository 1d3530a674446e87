"""A registered model on the device: its family and slot, what it takes and gives, and who may ask what."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from paceline.errors import ConfigError, InvalidRequest
from paceline.multiplex.capture.check import Structure
from paceline.multiplex.capture.evaluate import dtype_name
from paceline.multiplex.capture.recipe import Recipe
from paceline.multiplex.family import Family
from paceline.multiplex.messages import TenantInfo, TensorInfo
from paceline.multiplex.op import Graph, Rows, Spec
from paceline.multiplex.tenant import MAX_ROWS, TenantSpec

Structured: TypeAlias = Callable[[Sequence[Tensor]], Any]


def structured(structure: Structure, names: Sequence[str] = ()) -> Structured:
    """What puts outputs together as a model returns them: a tensor, a tuple or a dictionary.

    >>> structured("dict", ("a",))([torch.zeros(1)])
    {'a': tensor([0.])}
    """
    if structure == "tensor":
        return operator.itemgetter(0)
    return tuple if structure == "tuple" else lambda outputs: dict(zip(names, outputs, strict=True))


@final
class Signature:
    """Shapes and types of inputs and outputs."""

    def __init__(self, graph: Graph, device: torch.device) -> None:
        specs = graph.specs()
        self._takes = [(getattr(torch, spec.dtype), torch.Size(spec.sizes(0)[1:])) for spec in graph.inputs]
        self._device = device.type
        self.structured = structured(graph.structure, graph.names)
        self.inputs = tuple([_info(f"input_{place}", spec) for place, spec in enumerate(graph.inputs)])
        self.outputs = tuple(
            [
                _info(graph.names[place] if graph.names else f"output_{place}", specs[index])
                for place, index in enumerate(graph.outputs)
            ]
        )

    def num_rows(self, inputs: Sequence[Tensor], name: str) -> int:
        """Rows that ``inputs`` bring. InvalidRequest if they do not fit."""
        if len(inputs) != len(self._takes):
            raise InvalidRequest(f"{name} takes {len(self._takes)} inputs, got {len(inputs)}", param="inputs")
        num_rows = 0
        for place, tensor in enumerate(inputs):
            dtype, feature = self._takes[place]
            rows = -1  # cannot be served, however many
            if isinstance(tensor, Tensor) and tensor.dtype is dtype and tensor.layout is torch.strided:
                shape = tensor.shape
                if shape and shape[1:] == feature and (tensor.is_cpu or tensor.device.type == self._device):
                    rows = shape[0]
            if not 0 < rows <= MAX_ROWS or num_rows not in (0, rows):
                self._refuse(place, tensor, rows, num_rows, name)
            num_rows = rows
        return num_rows

    def _refuse(self, place: int, tensor: object, rows: int, num_rows: int, name: str) -> None:
        if not isinstance(tensor, Tensor):
            found = type(tensor).__name__
        elif rows < 0:
            found = f"{dtype_name(tensor.dtype)} of shape {list(tensor.shape)} on {tensor.device} ({tensor.layout})"
        else:
            found = f"{rows} rows, and {num_rows} in others" if num_rows else f"{rows} rows"
        dtype, feature = self._takes[place]
        shape = ", ".join(["rows", *map(str, feature)])
        wanted = f"{dtype_name(dtype)} of shape [{shape}] with 1 to {MAX_ROWS} rows"
        raise InvalidRequest(f"input {place} of {name} must be {wanted}, got {found}", param=f"input_{place}")


def _info(name: str, spec: Spec) -> TensorInfo:
    shape = [-1 if isinstance(size, Rows) else size for size in spec.shape]
    return TensorInfo(name, spec.dtype, tuple(shape))


@dataclass(frozen=True, slots=True, eq=False)
class Hosted:
    """A model in a family's stack."""

    spec: TenantSpec
    family: Family
    slot: int
    signature: Signature
    recipe: Recipe | None  # makes its weights from a state of the module; None for one from a folder
    names: Mapping[str, str]  # of weights: in the model's graph -> in the family's

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def structured(self) -> Structured:
        """Puts outputs together as the model returns them."""
        return self.signature.structured

    def weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The family's weights from a ``state_dict()``, or from the graph's weights if the model came from a folder.

        InvalidRequest if one is missing or has another shape or type.
        """
        found = state if self.recipe is None else self.recipe.weights(state)
        missing = self.names.keys() - found.keys()
        if missing:
            raise InvalidRequest(f"{self.name}: the state has no {min(missing)!r}", param="state_dict")
        for old, new in self.names.items():
            need, tensor = self.family.graph.weights[new], found[old]
            have = Spec(tuple(tensor.shape), dtype_name(tensor.dtype))
            if have != need:
                text = f"{need.dtype} of shape {list(need.sizes(0))}, got {have.dtype} of shape {list(tensor.shape)}"
                raise InvalidRequest(f"{self.name}: {old!r} must be {text}", param="state_dict")
        return {new: found[old] for old, new in self.names.items()}

    def info(self) -> TenantInfo:
        return TenantInfo(
            name=self.name,
            inputs=self.signature.inputs,
            outputs=self.signature.outputs,
            family=self.spec.family,
            coalescible=True,
        )


def seconds(text: str | float, name: str) -> float:
    """A duration as people write it.

    >>> seconds("25ms", "slo"), seconds("1.5s", "slo"), seconds(0.1, "slo")
    (0.025, 1.5, 0.1)
    """
    if isinstance(text, (int, float)):
        return float(text)
    for unit, scale in (("ms", 1e-3), ("us", 1e-6), ("s", 1.0)):
        number = text.removesuffix(unit).strip()
        if text.endswith(unit):
            try:
                return float(number) * scale
            except ValueError:
                break
    raise ConfigError(f"{name} must be seconds or a text like '25ms' or '1.5s', got {text!r}")
