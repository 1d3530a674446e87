"""Which kernels are exact.

A kernel is exact if the bits of a tenant's result depend neither on how many others run with it nor on its place among
them. Whether one is cannot be known from its source (libraries choose by shape), so it is tried on random numbers.
What is found holds for one thread per operator: with several, torch cuts large tensors at places that depend on their size.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from paceline.multiplex.lower.compare import same_bits
from paceline.multiplex.lower.group import Group
from paceline.multiplex.lower.program import Kernels, build
from paceline.multiplex.lower.rules import EACH, kernel_key, variants
from paceline.multiplex.op import Argument, Graph, Many, Op, Rows, Spec, Value, Weight, reads

_GROUP_SIZES: Final = (2, 3, 5, 8, 16)
_SEED: Final = 20190130  # fixed, so that every process finds the same kernels


def exact_kernels(graph: Graph, num_rows: int, device: torch.device) -> Kernels:
    """For each operator the first variant that is exact at this number of rows, else one call per tenant.

    If the program made of them is not exact as a whole (operators see other strides in company), all are.
    """
    kernels: dict[str, str] = {}
    for op in graph.ops:
        key = kernel_key(graph, op)
        if key in kernels or not any(isinstance(tensor, Value) for tensor in reads(op)):
            continue
        alone = _alone(graph, op)
        tried = (*variants(graph, op, graph.weights, exact=True, on_cuda=device.type == "cuda"), EACH)
        kernels[key] = next((each for each in tried if is_exact(alone, {key: each}, num_rows, device)), EACH)
    if is_exact(graph, kernels, num_rows, device):
        return kernels
    return dict.fromkeys(kernels, EACH)


@torch.inference_mode()
def is_exact(graph: Graph, kernels: Kernels, num_rows: int, device: torch.device) -> bool:
    """Tries random numbers for several numbers of tenants, and compares each with itself alone."""
    random = torch.Generator().manual_seed(_SEED)
    most = max(_GROUP_SIZES)
    inputs = [[_numbers(spec, num_rows, random, device) for spec in graph.inputs] for _ in range(most)]
    weights = {
        name: torch.stack([_numbers(spec, 0, random, device) * 0.2 for _ in range(most)])
        if spec.dtype.startswith(("float", "bfloat"))
        else torch.stack([_numbers(spec, 0, random, device) for _ in range(most)])
        for name, spec in graph.weights.items()
    }
    alone = [_run(graph, kernels, weights, [tenant], inputs) for tenant in range(most)]
    for size in _GROUP_SIZES:
        for tenants in (list(range(most - size, most)), list(range(size))[::-1]):
            together = _run(graph, kernels, weights, tenants, inputs)
            for place, tenant in enumerate(tenants):
                if not all(same_bits(a[place], b[0]) for a, b in zip(together, alone[tenant], strict=True)):
                    return False
    return True


def _run(
    graph: Graph, kernels: Kernels, weights: dict[str, Tensor], tenants: list[int], inputs: list[list[Tensor]]
) -> list[list[Tensor]]:
    group = Group(len(tenants), {}, {name: each[tenants] for name, each in weights.items()}, exact=True)
    columns = list(zip(*[inputs[tenant] for tenant in tenants], strict=True))
    return [[each.contiguous() for each in column] for column in build(graph, group, kernels)(columns)]


def _numbers(spec: Spec, num_rows: int, random: torch.Generator, device: torch.device) -> Tensor:
    """Small whole numbers for what may be a place in a table, else normally distributed ones."""
    dtype, sizes = getattr(torch, spec.dtype), spec.sizes(num_rows)
    if dtype.is_floating_point:
        return torch.randn(sizes, generator=random, dtype=torch.float32).to(device, dtype)
    return torch.randint(0, 2, sizes, generator=random).to(device, dtype)


def _alone(graph: Graph, op: Op) -> Graph:
    """A graph of this operator alone, its results all outputs."""
    specs = graph.specs()
    read = list(dict.fromkeys(tensor.index for tensor in reads(op) if isinstance(tensor, Value)))
    places = {index: place for place, index in enumerate(read)}
    names = {tensor.name for tensor in reads(op) if isinstance(tensor, Weight)}

    def moved(argument: Argument) -> Argument:
        if isinstance(argument, Value):
            return Value(places[argument.index])
        return Many(tuple(map(moved, argument.items))) if isinstance(argument, Many) else argument

    single = Op(op.target, tuple(map(moved, op.args)), op.outputs, {key: moved(e) for key, e in op.keywords.items()})
    inputs = tuple(specs[index] for index in read)
    outputs = tuple(len(read) + place for place, spec in enumerate(op.outputs) if isinstance(spec.shape[0], Rows))
    return Graph(inputs, (single,), outputs, {name: graph.weights[name] for name in names})
