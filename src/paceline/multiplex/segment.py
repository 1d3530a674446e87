"""Where a graph is cut into segments, the pieces that a scheduler may run in other company each time. Pure.

Cuts lie where the fewest values go on living, since those must be carried. Blocks that repeat are cut alike, so that they
get equal keys: layer 1 of one request can then join layer 2 of another.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import msgspec

from paceline.multiplex.op import Argument, Graph, Many, Op, Rows, Value, Weight, family_key, reads


def cut(graph: Graph, op_costs_s: Sequence[float], target_s: float) -> tuple[Graph, ...]:
    """Segments of about ``target_s`` seconds each, in order; the last returns what the graph returns.

    ``op_costs_s`` are the seconds of each op. Every segment takes what the one before gives.
    """
    bounds = [0, *_points(graph), len(graph.ops)]
    atoms = [(start, stop) for start, stop in itertools.pairwise(bounds) if start < stop]
    if sum(op_costs_s) <= target_s or len(atoms) < 2:
        return (graph,)
    keys = [family_key(piece(graph, start, stop)) for start, stop in atoms]
    costs = [sum(op_costs_s[start:stop]) for start, stop in atoms]
    parts = list(_parts(keys, costs, target_s))
    return tuple(piece(graph, atoms[first][0], atoms[last - 1][1]) for first, last in parts)


def _points(graph: Graph) -> list[int]:
    """Numbers of ops before which a cut is cheapest; none where something without rows of its own would be carried."""
    specs, last = graph.specs(), graph.last_reads()
    live = set(range(len(graph.inputs)))
    counts: dict[int, int] = {}
    for place, (op, first) in enumerate(zip(graph.ops, graph.first_values(), strict=True)):
        live = {index for index in live | set(range(first, first + len(op.outputs))) if last[index] > place}
        if place + 1 < len(graph.ops) and all(_leads_with_rows(specs[index].shape) for index in live):
            counts[place + 1] = len(live)
    fewest = min(counts.values(), default=0)
    return [place for place, count in counts.items() if count == fewest]


def _leads_with_rows(shape: tuple[int | Rows, ...]) -> bool:
    return bool(shape) and isinstance(shape[0], Rows)


# ── joining what lies between the points ─────────────────────────────────────────────────────────


def _parts(keys: Sequence[str], costs: Sequence[float], target_s: float) -> Iterator[tuple[int, int]]:
    """Ranges of atoms: repeating blocks cut alike, the rest gathered until it costs enough."""
    start = place = 0
    while place < len(keys):
        period, count = _repeat(keys, place)
        if count < 2:
            place += 1
            if sum(costs[start:place]) >= target_s:
                yield start, place
                start = place
            continue
        if start < place:
            yield start, place
        block = sum(costs[place : place + period])
        joined = min(count, max(1, round(target_s / block))) if block else count
        end = place + period * count
        if block > 2 * target_s:
            for block_start in range(place, end, period):
                yield from _gathered(costs, block_start, block_start + period, target_s)
        else:
            for first in range(place, end, period * joined):
                yield first, min(first + period * joined, end)
        start = place = end
    if start < len(keys):
        yield start, len(keys)


def _repeat(keys: Sequence[str], start: int) -> tuple[int, int]:
    """Length and number of the blocks that repeat from here on: those that reach farthest, the shortest of them.

    >>> _repeat("abababc", 0)
    (2, 3)
    """
    best = (1, 1)
    for period in range(1, (len(keys) - start) // 2 + 1):
        block, count = list(keys[start : start + period]), 1
        while list(keys[start + count * period : start + (count + 1) * period]) == block:
            count += 1
        if count > 1 and period * count > best[0] * best[1]:
            best = (period, count)
    return best


def _gathered(costs: Sequence[float], start: int, stop: int, target_s: float) -> Iterator[tuple[int, int]]:
    first = start
    for place in range(start + 1, stop + 1):
        if place == stop or sum(costs[first:place]) >= target_s:
            yield first, place
            first = place


# ── pieces ───────────────────────────────────────────────────────────────────────────────────────


def piece(graph: Graph, start: int, stop: int) -> Graph:
    """Ops ``start`` to ``stop`` as a graph of their own: it takes what lives before them and gives what lives after."""
    specs, last, firsts = graph.specs(), graph.last_reads(), graph.first_values()
    before = firsts[start]
    after = firsts[stop] if stop < len(graph.ops) else len(specs)
    taken = [index for index in range(before) if last[index] >= start]
    given = graph.outputs if stop == len(graph.ops) else [index for index in range(after) if last[index] >= stop]
    numbers = {index: place for place, index in enumerate(taken)}
    numbers.update({index: len(taken) + index - before for index in range(before, after)})
    ops = tuple(_moved(op, numbers) for op in graph.ops[start:stop])
    names = {tensor.name for op in ops for tensor in reads(op) if isinstance(tensor, Weight)}
    part = Graph(
        inputs=tuple([specs[index] for index in taken]),
        ops=ops,
        outputs=tuple([numbers[index] for index in given]),
        weights={name: spec for name, spec in graph.weights.items() if name in names},
        structure="tuple",
    )
    if stop < len(graph.ops):
        return part
    return msgspec.structs.replace(part, structure=graph.structure, names=graph.names)


def _moved(op: Op, numbers: dict[int, int]) -> Op:
    def moved(argument: Argument) -> Argument:
        if isinstance(argument, Value):
            return Value(numbers[argument.index])
        return Many(tuple(map(moved, argument.items))) if isinstance(argument, Many) else argument

    keywords = {key: moved(each) for key, each in op.keywords.items()}
    return msgspec.structs.replace(op, args=tuple(map(moved, op.args)), keywords=keywords)
