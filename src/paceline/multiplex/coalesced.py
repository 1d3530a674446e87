"""``coalesce``: many models as one callable, without a scheduler.

>>> _ = torch.manual_seed(0)
>>> models = [nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval() for _ in range(3)]
>>> together = coalesce(models, (torch.zeros(1, 4),))
>>> outputs = together([torch.ones(1, 4), torch.zeros(1, 4), torch.ones(1, 4)])
>>> [tuple(each.shape) for each in outputs]
[(1, 2), (1, 2), (1, 2)]
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn

from paceline.errors import ExecutionError, InvalidRequest
from paceline.multiplex.blocks import bucket_of
from paceline.multiplex.capture import Captured, NotCapturable, capture
from paceline.multiplex.family import Family, Numerics
from paceline.multiplex.lower.bundle import shape_of
from paceline.multiplex.lower.program import Columns
from paceline.multiplex.op import family_key, renamed, weight_order

Inputs: TypeAlias = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]


@final
@dataclass(frozen=True, slots=True)
class FamilyReport:
    """What became of the models with these numbers, which have one architecture.

    ``together`` is False if nothing is gained: then they run one by one. ``gain`` is the measured time of one by one
    over that of together, at the rows of the example; None if nothing was measured. ``kernels`` are the variants that were
    faster than the usual ones. ``num_loop_ops`` operators run model by model even together. ``num_shared`` of
    ``num_weights`` weights are the same in all. Models that could not be captured run as they are, ``reasons`` say why.
    """

    models: tuple[int, ...]
    together: bool
    gain: float | None = None
    kernels: Mapping[str, str] | None = None
    num_loop_ops: int = 0
    num_shared: int = 0
    num_weights: int = 0
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        who = f"{len(self.models)} models" if len(self.models) > 1 else f"model {self.models[0]}"
        if self.reasons:
            return f"{who}: as it is, because {'; '.join(self.reasons)}"
        how = "together" if self.together else "one by one"
        gain = "" if self.gain is None else f", together {self.gain:.2f} times as fast as one by one"
        return (
            f"{who}: {how}{gain}; {self.num_shared} of {self.num_weights} weights shared,"
            f" {self.num_loop_ops} operators in a loop"
        )


def coalesce(
    models: Sequence[nn.Module], example_inputs: tuple[Tensor, ...], *, numerics: Numerics = "close"
) -> Coalesced:
    """One callable that gives what each of ``models`` gives for its own inputs, faster where that is possible.

    Models of the same architecture run together, whether their weights are the same or not; others run by themselves, and
    so do models that cannot be captured. ``example_inputs`` (dimension 0 is rows, their number typical) are those of every
    model. Weights are copied: later changes of a model are not seen. ``numerics``: "close" promises results within 1e-4
    relative and 1e-5 absolute of the models' own, "exact" the same bits for a model whatever runs with it.

    What is fastest is measured here, and once more for every power of two of rows that comes up later.
    """
    if not models:
        raise InvalidRequest("there must be at least one model", param="models")
    return Coalesced(models, example_inputs, numerics)


@final
class Coalesced:
    """Made by ``coalesce``."""

    def __init__(self, models: Sequence[nn.Module], example_inputs: tuple[Tensor, ...], numerics: Numerics) -> None:
        self._num_models = len(models)
        self._members: list[_Members | _Opaque] = []
        captured: dict[str, list[tuple[int, Captured]]] = {}
        last: Captured | None = None
        for number, model in enumerate(models):
            try:
                last = (last and last.like(model, example_inputs)) or capture(model, example_inputs)
                captured.setdefault(family_key(last.graph), []).append((number, last))
            except NotCapturable as error:
                self._members.append(_Opaque(number, model, error.reasons))
        for each in captured.values():
            self._members.append(_Members(each, _arguments(models[each[0][0]]), numerics))
        num_rows = example_inputs[0].shape[0]
        for members in self._members:
            members.prepare(num_rows)

    def __call__(self, inputs: Sequence[Inputs]) -> list[Any]:
        """What each model returns for its own inputs: a tensor, a tuple of tensors, or a mapping from names of arguments.

        Models may get different numbers of rows. InvalidRequest if inputs do not fit the model.
        """
        if len(inputs) != self._num_models:
            raise InvalidRequest(f"there are {self._num_models} models, got inputs for {len(inputs)}", param="inputs")
        if torch.is_inference_mode_enabled():
            return self._run(inputs)
        with torch.inference_mode():
            return self._run(inputs)

    def _run(self, inputs: Sequence[Inputs]) -> list[Any]:
        if len(self._members) == 1:
            return self._members[0].run(inputs)
        results: list[Any] = [None] * len(inputs)
        for members in self._members:
            own = members.run([inputs[number] for number in members.numbers])
            for number, result in zip(members.numbers, own, strict=True):
                results[number] = result
        return results

    def explain(self) -> list[FamilyReport]:
        """Who runs with whom, how, and what is gained; each report is text too."""
        return [members.report() for members in self._members]


def _arguments(model: nn.Module) -> list[str]:
    """Names of what a model takes, in order."""
    return list(inspect.signature(model.forward).parameters)


@final
class _Opaque:
    """A model that could not be captured."""

    def __init__(self, number: int, model: nn.Module, reasons: tuple[str, ...]) -> None:
        self.numbers = (number,)
        self._model = model
        self._reasons = reasons

    def prepare(self, num_rows: int) -> None: ...

    def run(self, inputs: Sequence[Inputs]) -> list[Any]:
        (given,) = inputs
        if isinstance(given, Mapping):
            return [self._model(**given)]
        return [self._model(given) if isinstance(given, Tensor) else self._model(*given)]

    def report(self) -> FamilyReport:
        return FamilyReport(self.numbers, False, reasons=self._reasons)


@final
class _Members:
    """Models of one architecture."""

    def __init__(self, members: Sequence[tuple[int, Captured]], arguments: Sequence[str], numerics: Numerics) -> None:
        first = members[0][1].graph
        names = {name: f"w{place}" for place, name in enumerate(weight_order(first))}
        self.numbers = tuple([number for number, _ in members])
        self._graph = renamed(first, names)  # weights may have other names in other models
        self._family = Family(self._graph, numerics=numerics, capacity=len(members))
        for _, captured in members:
            own = weight_order(captured.graph)
            self._family.add({f"w{place}": captured.weights[name] for place, name in enumerate(own)})
        self._arguments = tuple(arguments[: len(first.inputs)])
        self._slots = tuple(range(len(members)))
        self._direct: dict[int, Callable[[Columns], Columns] | None] = {}
        self._dtypes = {getattr(torch, self._graph.inputs[0].dtype)}
        self._feature = shape_of(self._graph.inputs[0]).feature
        self._example_rows = 1

    def prepare(self, num_rows: int) -> None:
        """Measures what is best for so many rows per model."""
        self._example_rows = num_rows
        self._ready(num_rows)

    def _ready(self, num_rows: int) -> Callable[[Columns], Columns] | None:
        bucket = bucket_of(num_rows)
        if bucket not in self._direct:
            self._family.tune(self._slots, num_rows)
            self._direct[bucket] = self._family.direct(self._slots, num_rows)
        return self._direct[bucket]

    def run(self, inputs: Sequence[Inputs]) -> list[Any]:
        """One result per model. The short way is for one input, with as many rows for all; it leaves checks to torch."""
        first = inputs[0]
        if type(first) is Tensor and self._fits(first):
            direct = self._ready(first.shape[0])
            try:
                if direct is not None and {each.dtype for each in inputs} == self._dtypes:  # type: ignore[union-attr]
                    return self._structured(direct((inputs,)))  # type: ignore[arg-type]
            except (RuntimeError, TypeError, IndexError, AttributeError):
                pass  # the long way finds who is to blame
        return self._run_checked(inputs)

    def _fits(self, tensor: Tensor) -> bool:
        shape = tensor.shape
        return shape[1:] == self._feature and shape[0] > 0

    def _run_checked(self, inputs: Sequence[Inputs]) -> list[Any]:
        states = [self._checked(number, given) for number, given in zip(self.numbers, inputs, strict=True)]
        num_rows = max(state[0].shape[0] for state in states)
        direct = self._ready(num_rows)
        try:
            if direct is not None and all(state[0].shape[0] == num_rows for state in states):
                return self._structured(direct(list(zip(*states, strict=True))))
            made = self._family.run(0, self._slots, states)
        except (RuntimeError, IndexError) as error:
            raise ExecutionError(f"a bundle of {len(states)} models failed: {error}") from error
        return self._structured(list(zip(*made, strict=True)))

    def _checked(self, number: int, given: Inputs) -> tuple[Tensor, ...]:
        tensors = self._tensors(number, given)
        specs = self._graph.inputs
        num_rows = tensors[0].shape[0] if tensors[0].dim() else 0
        for tensor, spec in zip(tensors, specs, strict=True):
            expected = spec.sizes(num_rows)
            if not num_rows or tuple(tensor.shape) != expected or str(tensor.dtype) != f"torch.{spec.dtype}":
                found = f"{list(tensor.shape)} {tensor.dtype}"
                wanted = f"[rows, {', '.join(map(str, expected[1:]))}] {spec.dtype}"
                raise InvalidRequest(
                    f"model {number} takes {wanted} with at least one row, got {found}", param="inputs"
                )
        return tensors

    def _tensors(self, number: int, given: Inputs) -> tuple[Tensor, ...]:
        if isinstance(given, Mapping):
            if given.keys() != set(self._arguments):
                names, found = ", ".join(self._arguments), ", ".join(map(str, given))
                raise InvalidRequest(f"model {number} takes inputs named {names}, got {found}", param="inputs")
            return tuple([given[name] for name in self._arguments])
        tensors = (given,) if isinstance(given, Tensor) else given
        if not isinstance(tensors, tuple) or not all(isinstance(each, Tensor) for each in tensors):
            raise InvalidRequest(
                f"model {number} takes a tensor, a tuple or a mapping of tensors, got {type(given).__name__}",
                param="inputs",
            )
        if len(tensors) != len(self._graph.inputs):
            raise InvalidRequest(
                f"model {number} takes {len(self._graph.inputs)} inputs, got {len(tensors)}", param="inputs"
            )
        return tensors

    def _structured(self, columns: Columns) -> list[Any]:
        """The outputs as the model returns them."""
        if self._graph.structure == "tensor":
            return list(columns[0])
        rows = list(zip(*columns, strict=True))
        if self._graph.structure == "tuple":
            return rows
        return [dict(zip(self._graph.names, row, strict=True)) for row in rows]

    def report(self) -> FamilyReport:
        choices = self._family.tune(self._slots, self._example_rows)
        num_weights = len(self._graph.weights)
        report = FamilyReport(
            self.numbers,
            together=len(self.numbers) > 1,
            num_loop_ops=self._family.num_loop_ops,
            num_shared=num_weights - self._family.num_different(self._slots),
            num_weights=num_weights,
        )
        if not choices:
            return report
        choice = choices[0]
        return replace(report, together=not choice.loop, gain=choice.gain, kernels=choice.kernels)
