"""Tenants of one architecture: their stack, their programs, and running any of them together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from paceline.errors import InvalidRequest
from paceline.multiplex.blocks import bucket_of
from paceline.multiplex.grouping import Grouping, choice_key
from paceline.multiplex.lower.bundle import Segment, Slice, State, shape_of
from paceline.multiplex.lower.choice import Choice, Choices, choose
from paceline.multiplex.lower.group import Group
from paceline.multiplex.lower.program import Columns, Loop, build
from paceline.multiplex.op import Graph, Spec, family_key
from paceline.multiplex.stack import Stack

Numerics: TypeAlias = Literal["close", "exact"]


@final
class Family:
    """What the runtime and ``coalesce`` call. Not to be used from several threads at once.

    ``segments`` are the keys of its pieces, in order; pieces with equal keys do the same work. ``cuts`` are these pieces
    (from ``segment.cut``); without them the whole graph is one. ``memory_budget`` bounds the bytes of copies of weights
    besides the stack. ``capacity`` is the number of tenants that the stack has room for before it must move.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        cuts: Sequence[Graph] = (),
        numerics: Numerics = "close",
        device: str = "cpu",
        capacity: int = 16,
        memory_budget: int = 256 << 20,
    ) -> None:
        self.key = family_key(graph)
        self.graph = graph
        self.numerics = numerics
        pieces = tuple(cuts) or (graph,)
        self._segments = [_segment(place, piece, len(pieces)) for place, piece in enumerate(pieces)]
        self.segments = tuple([segment.key for segment in self._segments])
        self._device = torch.device(device)
        self._is_cuda = self._device.type == "cuda"
        self._stack = Stack(graph.weights, device=self._device, capacity=capacity)
        self._copy_bytes = memory_budget // 4
        self._choices = Choices(self.key, self._device)
        self._grouping = Grouping(
            self._stack,
            self._segments,
            self._choices,
            exact=numerics == "exact",
            device=self._device,
            budget=memory_budget,
        )

    # ── tenants ──────────────────────────────────────────────────────────────────────────────

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def slots(self) -> frozenset[int]:
        """Those in use."""
        return self._stack.slots

    @functools.cached_property
    def num_loop_ops(self) -> int:
        """Operators that gain nothing when weights differ: they run tenant by tenant."""
        weights = {name: _two_of(spec) for name, spec in self.graph.weights.items()}
        return sum(build(segment.graph, Group(2, {}, weights)).num_loop_ops for segment in self._segments)

    def num_different(self, slots: Sequence[int]) -> int:
        """How many weights are not the same for all of these tenants."""
        return self._stack.num_different(slots)

    def add(self, weights: Mapping[str, Tensor]) -> int:
        """Takes a tenant's weights over and gives its slot. InvalidRequest if one is missing or has another shape."""
        slot, moved = self._stack.add(weights)
        if moved or slot < max(self._stack.slots):
            self._grouping.forget()
        else:  # little that was made before knows of this slot
            self._grouping.anywhere.forget()
        return slot

    def views(self, slot: int) -> dict[str, Tensor]:
        """The tenant's weights where they lie in the stack, for a module to point to.

        They are to be read only (other tenants may share them; ``update`` changes them) and stay the stack's own until
        it has to grow past its capacity.
        """
        return self._stack.views(slot)

    def update(self, slot: int, weights: Mapping[str, Tensor]) -> None:
        """Replaces all weights of a tenant. Raises what ``add`` raises."""
        self._stack.update(slot, weights)
        self._grouping.forget()

    def remove(self, slot: int) -> None:
        """Gives the slot free."""
        self._stack.remove(slot)
        self._grouping.forget()

    def memory_bytes(self) -> int:
        """Of the stack, and of copies for single groups."""
        graphs = self._grouping.graphs
        return self._stack.memory_bytes() + self._grouping.own_bytes() + (graphs.memory_bytes() if graphs else 0)

    # ── running ──────────────────────────────────────────────────────────────────────────────

    @torch.inference_mode()
    def run(self, segment: int, slots: Sequence[int], states: Sequence[State]) -> list[State]:
        """Runs a segment for these tenants, each with its own state, and gives their next states in the same order.

        A state is a tuple of tensors ``[n, …]``: for segment 0 the inputs, after the last segment the outputs. Tenants
        may bring different numbers of rows, and one tenant several states. States in between may be shares of a packed
        bundle: if the next segment is run for the same slots in the same order, nothing is packed again.
        """
        piece = self._segments[segment]
        if self._is_cuda:
            states = _on_one_device(states, self._device)
        num_rows = [_num_rows(piece, state) for state in states]
        if len(set(slots)) == len(slots) and (self.numerics == "close" or len(set(map(bucket_of, num_rows))) == 1):
            return self._run_once(piece, slots, states, num_rows)
        results: list[State] = [()] * len(slots)
        for places in _rounds(slots, [bucket_of(rows) if self.numerics == "exact" else 0 for rows in num_rows]):
            own = [[each[place] for place in places] for each in (slots, states, num_rows)]
            for place, state in zip(places, self._run_once(piece, *own), strict=True):  # type: ignore[arg-type]
                results[place] = state
        return results

    def _run_once(
        self, piece: Segment, slots: Sequence[int], states: Sequence[State], num_rows: Sequence[int]
    ) -> list[State]:
        ordered = sorted(slots)  # so that a plan serves the same slots in any order
        plan = self._grouping.plan(tuple(ordered), max(num_rows))
        if plan.whole is not None and ordered == list(slots):
            return list(plan.whole.run(piece, states, num_rows))
        order = sorted(range(len(slots)), key=slots.__getitem__)
        results: list[State] = [()] * len(slots)
        for members, part in plan.parts:
            places = [order[member] for member in members]
            made = part.run(piece, [states[place] for place in places], [num_rows[place] for place in places])
            for place, state in zip(places, made, strict=True):
                results[place] = state
        return results

    def direct(self, slots: tuple[int, ...], num_rows: int) -> Callable[[Columns], Columns] | None:
        """The shortest way for exactly these slots in this order with equal rows, from inputs to outputs, if there is one.

        It takes of each input one tensor per tenant and gives the same of outputs, and must run in inference mode.
        """
        if self._is_cuda or self.numerics == "exact":  # graphs are shorter still
            return None
        if len(self._segments) != 1 or tuple(sorted(set(slots))) != slots:
            return None
        segment = self._segments[0]
        if self._grouping.plan(slots, num_rows).whole is None:
            return None
        group = self._grouping.group(slots)
        choice = self._grouping.choice(segment, group, num_rows)
        if choice is None:
            return None
        return self._loop(segment, slots, num_rows) if choice.loop else build(segment.graph, group, choice.kernels)

    def finish(self) -> None:
        """Waits until the device has done what it was given."""
        if self._is_cuda:
            torch.cuda.current_stream(self._device).synchronize()

    @torch.inference_mode()
    def rest(self) -> bool:
        """Something that is done while nobody waits for the device; False if there is nothing to do."""
        return self._grouping.graphs is not None and self._grouping.graphs.capture_next()

    def _loop(self, segment: Segment, slots: Sequence[int], num_rows: int) -> Loop:
        return Loop(tuple([self._grouping.solo(slot, num_rows)(segment) for slot in slots]))

    @torch.inference_mode()
    def tune(self, slots: Sequence[int], num_rows: int) -> list[Choice]:
        """Measures ways to run these tenants with so many rows each; what this device has measured before is taken over.

        A choice per segment; none for ``exact``, whose kernels are not chosen by time.
        """
        if self.numerics == "exact":
            return []
        wanted = tuple(sorted(set(slots)))
        choices = [self._tuned(segment, wanted, num_rows) for segment in self._segments]
        if len(wanted) > 1:
            anywhere = [choice.anywhere for choice in choices]
            self._grouping.anywhere.learn_gain(len(wanted), num_rows, mean(anywhere) if all(anywhere) else 0.0)
            self._grouping.learn_gain(len(wanted), mean(choice.gain for choice in choices))
        return choices

    def prepare(self, num_rows: int) -> None:
        """Writes the programs for groups with so many rows each, in advance."""
        self._grouping.prepare(num_rows)

    def _tuned(self, segment: Segment, slots: tuple[int, ...], num_rows: int) -> Choice:
        group = self._grouping.group(slots)
        known = self._grouping.choice(segment, group, num_rows)
        if known is not None:
            return known
        apart = None
        if len(slots) > 1:
            self._tuned(segment, slots[:1], num_rows)
            apart = self._loop(segment, slots, num_rows)
        columns = [[_example(spec, num_rows, self._device) for _ in slots] for spec in segment.graph.inputs]
        anywhere = self._grouping.anywhere.program(segment, slots)
        choice = choose(segment.graph, group, apart, columns, copy_bytes=self._copy_bytes, anywhere=anywhere)
        self._choices.put(choice_key(segment, group, num_rows), choice)
        self._grouping.forget_plans()
        return choice


def _rounds(slots: Sequence[int], buckets: Sequence[int]) -> list[list[int]]:
    """Places to run at once: a slot once in each round, and one bucket of rows.

    >>> _rounds([4, 4, 5], [0, 0, 0])
    [[0, 2], [1]]
    """
    rounds: dict[tuple[int, int], list[int]] = {}
    seen: dict[int, int] = {}
    for place, (slot, bucket) in enumerate(zip(slots, buckets, strict=True)):
        turn = seen[slot] = seen.get(slot, -1) + 1
        rounds.setdefault((turn, bucket), []).append(place)
    return list(rounds.values())


def _segment(place: int, graph: Graph, num_segments: int) -> Segment:
    specs = graph.specs()
    takes = tuple(map(shape_of, graph.inputs))
    gives = tuple([shape_of(specs[index]) for index in graph.outputs])
    return Segment(place, family_key(graph), graph, takes, gives, place == num_segments - 1)


def _num_rows(segment: Segment, state: State) -> int:
    if not isinstance(state, tuple):
        return state.bundle.num_rows[state.place]
    if len(state) != len(segment.takes):
        raise InvalidRequest(f"the model takes {len(segment.takes)} inputs, got {len(state)}", param="inputs")
    return state[0].shape[0] // segment.takes[0].factor


def _on_one_device(states: Sequence[State], device: torch.device) -> Sequence[State]:
    """If all lie in the host's memory they are better put together there: then they are moved at once."""
    if all(isinstance(state, tuple) and all(tensor.is_cpu for tensor in state) for state in states):
        return states
    return [state if isinstance(state, Slice) else tuple([tensor.to(device) for tensor in state]) for state in states]


def _two_of(spec: Spec) -> Tensor:
    return torch.zeros((2, *spec.sizes(0)), dtype=getattr(torch, spec.dtype), device="meta")


def _example(spec: Spec, num_rows: int, device: torch.device) -> Tensor:
    """Inputs for measuring: random numbers, and zeros where numbers may be places in a table."""
    dtype = getattr(torch, spec.dtype)
    if dtype.is_floating_point:
        return torch.randn(spec.sizes(num_rows), device=device).to(dtype)
    return torch.zeros(spec.sizes(num_rows), dtype=dtype, device=device)
