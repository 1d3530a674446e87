"""From a graph and a group of tenants to a program: one function from packed inputs to packed outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import msgspec
import torch
from torch import Tensor

from paceline.multiplex.lower import rules
from paceline.multiplex.lower.calls import evaluate
from paceline.multiplex.lower.chain import TABLE
from paceline.multiplex.lower.form import PACK, Form, unpack
from paceline.multiplex.lower.group import Group, Unplaced
from paceline.multiplex.lower.runs import Run, runs_of
from paceline.multiplex.lower.writer import Writer
from paceline.multiplex.native.chain import Chain
from paceline.multiplex.op import Argument, Graph, Many, Op, Rows, Value, Weight, reads

Kernels: TypeAlias = Mapping[str, str]
"""Variants by ``rules.kernel_key``; what is not named is written in the usual way."""

Columns: TypeAlias = Sequence[Sequence[Tensor]]
"""Of each input (or output) one tensor per tenant."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """``function`` takes one tensor per input in the forms ``takes`` and gives a tuple in the forms ``gives``."""

    function: Callable[..., tuple[Tensor, ...]]
    takes: tuple[Form, ...]
    gives: tuple[Form, ...]
    num_tenants: int
    num_loop_ops: int
    chain: Chain | None = None  # if it is one chain and nothing else

    def __call__(self, columns: Columns) -> Columns:
        """Packs, runs and unpacks; all tenants must bring the same number of rows."""
        packed = [PACK[form](column) for form, column in zip(self.takes, columns, strict=True)]
        made = self.function(*packed)
        return [unpack(each, form, self.num_tenants) for each, form in zip(made, self.gives, strict=True)]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """A program of each tenant, one after another."""

    programs: tuple[Program, ...]

    def __call__(self, columns: Columns) -> Columns:
        results = [
            program.function(*each) for program, each in zip(self.programs, zip(*columns, strict=True), strict=True)
        ]
        return list(zip(*results, strict=True))


def build(graph: Graph, group: Group, kernels: Kernels | None = None) -> Program:
    """Writes the program of a graph for the tenants of a group."""
    graph, group, constants = _without_constants(graph, group)
    w = Writer(graph, group)
    variant_of = _variants(graph, kernels or {})
    chains = runs_of(graph, lambda op: variant_of(op) == TABLE, constants) if TABLE in (kernels or {}).values() else []
    run_at = {place: run for run in chains for place in range(run.start, run.stop)}
    whole: Chain | None = None
    for place, (op, first) in enumerate(zip(graph.ops, graph.first_values(), strict=True)):
        w.place = place
        run = run_at.get(place)
        if run is None:
            if first not in constants:
                rules.write(w, op, first, variant_of(op))
        elif place == run.start:
            w.place = run.stop - 1
            whole = run.tracer.finish(w)
    for index in set(graph.outputs) & constants.keys():
        w.give(index, Form.SPLIT, w.call(torch.clone, group.every(constants[index])))
    function, takes, gives = w.finish()
    if len(chains) != 1 or not _is_whole(graph, chains[0], constants):
        whole = None
    return Program(function, takes, gives, group.num_tenants, w.num_loop_ops, whole)


def _variants(graph: Graph, kernels: Kernels) -> Callable[[Op], str]:
    return lambda op: kernels.get(rules.kernel_key(graph, op), "") if kernels else ""


def _is_whole(graph: Graph, run: Run, constants: Mapping[int, str]) -> bool:
    """Whether the chain takes and gives what the graph does, in the same order."""
    gives = tuple([index for index, _ in run.tracer.wanted(run.stop)])
    outside = [first for place, first in enumerate(graph.first_values()) if not run.start <= place < run.stop]
    return all(first in constants for first in outside) and (
        tuple(run.tracer.taken) == tuple(range(len(graph.inputs))) and gives == graph.outputs
    )


# ── values that depend on weights alone ──────────────────────────────────────────────────────────


def _without_constants(graph: Graph, group: Group) -> tuple[Graph, Group, dict[int, str]]:
    """Computes what depends on no request, once; the graph then reads it as weights. Also their names by value."""
    constants: dict[int, str] = {}
    weights, ops = dict(graph.weights), []
    for op, first in zip(graph.ops, graph.first_values(), strict=True):
        op = _renamed(op, constants)
        ops.append(op)
        if any(isinstance(tensor, Value) for tensor in reads(op)) or any(_has_rows(spec.shape) for spec in op.outputs):
            continue
        names = [f"={first + place}" for place in range(len(op.outputs))]
        group = _with_results(group, op, names)
        constants.update({first + place: name for place, name in enumerate(names)})
        weights.update(zip(names, op.outputs, strict=True))
    if not constants:
        return graph, group, constants
    return msgspec.structs.replace(graph, ops=tuple(ops), weights=weights), group, constants


def _has_rows(shape: tuple[int | Rows, ...]) -> bool:
    return any(isinstance(size, Rows) for size in shape)


def _with_results(group: Group, op: Op, names: list[str]) -> Group:
    def results(slot: int) -> tuple[Tensor, ...]:
        return evaluate(op, _unexpected, lambda name: group.of_slot(name, slot), _unexpected)

    if any(isinstance(tensor, Weight) and tensor.name in group.stacked for tensor in reads(op)):
        columns = zip(*[results(slot) for slot in range(group.num_slots)], strict=True)
        if isinstance(group.stacked, Unplaced):
            apart = {**group.stacked.apart, **{name: list(each) for name, each in zip(names, columns, strict=True)}}
            return dataclasses.replace(group, stacked=Unplaced(apart))
        stacked = {**group.stacked, **{name: torch.stack(each) for name, each in zip(names, columns, strict=True)}}
        return dataclasses.replace(group, stacked=stacked)
    return dataclasses.replace(group, shared={**group.shared, **dict(zip(names, results(0), strict=True))})


def _unexpected(place: int) -> Any:
    raise AssertionError(f"a constant reads value {place}")


def _renamed(op: Op, constants: Mapping[int, str]) -> Op:
    def rename(argument: Argument) -> Argument:
        if isinstance(argument, Value) and argument.index in constants:
            return Weight(constants[argument.index])
        return Many(tuple(map(rename, argument.items))) if isinstance(argument, Many) else argument

    keywords = {key: rename(each) for key, each in op.keywords.items()}
    return msgspec.structs.replace(op, args=tuple(map(rename, op.args)), keywords=keywords)
