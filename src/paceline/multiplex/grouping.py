"""Who runs with whom: any set of tenants is taken apart into parts whose weights lie right, without copying per call.

- Tenants over different bases (large shared weights) go apart.
- The same weights throughout: one batch.
- Where chains gain most (``anywhere.py``): all of them, wherever they lie.
- Else blocks of the stack, whose programs serve any of their tenants: slots that nobody wants are computed along as dead
  rows where that costs less than to run the wanted ones in smaller blocks, or one by one.
- The same scattered tenants again and again: copied side by side.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from paceline.multiplex.anywhere import Anywhere
from paceline.multiplex.blocks import Blocks, Run, bucket_of
from paceline.multiplex.cuda.graphs import Graphs, cuda_graphs
from paceline.multiplex.lower.bundle import MOST_FILLED, Joined, Measured, OneByOne, Part, ProgramOf, Segment, Stacked
from paceline.multiplex.lower.choice import Choice, Choices
from paceline.multiplex.lower.group import Group, tensor_bytes
from paceline.multiplex.lower.program import Kernels, Program, build
from paceline.multiplex.numerics import exact_kernels
from paceline.multiplex.stack import Stack

_HOT: Final = (
    50  # times that a set of tenants must come before it is copied side by side: writing its program takes long
)
_MAX_PLANS: Final = 4096
_MAX_GROUPS: Final = 1024
_MOST_TOGETHER: Final = 64  # tenants for whom programs are written before they are wanted
_CACHED: Final = 16 << 20  # stacked weights beyond this leave a processor's caches: apart unless measured to gain


@final
@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Parts with the places of their members among the slots. A plan that is not ``settled`` copies more once it has come often enough."""

    parts: list[tuple[tuple[int, ...], Part]]
    whole: Part | None  # the one part that serves all members
    settled: bool


@final
class Grouping:
    """Plans, groups and programs of one family, kept while the stack stays as it is."""

    def __init__(
        self,
        stack: Stack,
        segments: Sequence[Segment],
        choices: Choices,
        *,
        exact: bool,
        device: torch.device,
        budget: int,
    ) -> None:
        self._stack = stack
        self._segments = segments
        self._choices = choices
        self._is_exact = exact
        self._device = device
        self._budget = budget
        self._plans: OrderedDict[tuple[tuple[int, ...], int], Plan] = OrderedDict()
        self._groups: OrderedDict[tuple[int, ...], Group] = OrderedDict()
        self._programs_of: dict[tuple[tuple[int, ...], int], ProgramOf] = {}
        self._written: dict[tuple[tuple[int, ...], int, frozenset[tuple[str, str]]], Program] = {}
        self._common: dict[tuple[str, str, int], Tensor] = {}
        self._bases: dict[int, tuple[int, ...]] = {}
        self._times: dict[tuple[int, ...], int] = {}
        self._exact: dict[tuple[str, int], Kernels] = {}
        self.graphs: Graphs | None = cuda_graphs(device, budget) if device.type == "cuda" else None
        self._blocks = Blocks()
        exact_kernels_of = self._exact_kernels if exact else None
        self.anywhere = Anywhere(stack, segments, self._blocks, exact_kernels_of, on_cpu=device.type == "cpu")

    def plan(self, slots: tuple[int, ...], num_rows: int) -> Plan:
        """How to run these slots, in ascending order and all different, with up to so many rows each."""
        key = (slots, bucket_of(num_rows))
        plan = self._plans.get(key)
        if plan is None or (not plan.settled and self._is_hot(slots)):
            plan = self._plans[key] = self._made(slots, key[1])
            if len(self._plans) > _MAX_PLANS:
                self._plans.popitem(last=False)
        return plan

    def forget(self) -> None:
        """The stack has changed: what was made from it is out of date."""
        self.forget_plans()
        self.anywhere.forget()
        self._written.clear()
        self._drop_graphs()
        self._groups.clear()
        self._common.clear()
        self._bases.clear()

    def _drop_graphs(self) -> None:
        """Those of programs that are no more."""
        if self.graphs is not None:
            self.graphs.forget({program.function for program in self._written.values()})

    def forget_plans(self) -> None:
        """Choices have changed."""
        self._plans.clear()
        self._programs_of.clear()

    def own_bytes(self) -> int:
        """Bytes of copies of weights."""
        return sum(map(tensor_bytes, list(self._common.values()))) + sum(
            group.memory_bytes for group in list(self._groups.values())
        )

    def group(self, slots: tuple[int, ...]) -> Group:
        """Weights of these slots; the least used copies go when all together are more than the budget."""
        group = self._groups.get(slots)
        if group is None:
            group = self._groups[slots] = self._stack.group(slots, sharing=not self._is_exact)
            group.common = self._common
            while len(self._groups) > 1 and (self.own_bytes() > self._budget or len(self._groups) > _MAX_GROUPS):
                dropped, _ = self._groups.popitem(last=False)
                self._written = {key: program for key, program in self._written.items() if key[0] != dropped}
                self._drop_graphs()
                self.forget_plans()
        self._groups.move_to_end(slots)
        return group

    def solo(self, slot: int, num_rows: int) -> ProgramOf:
        """Programs of one tenant."""
        return self._programs((slot,), num_rows)

    def prepare(self, num_rows: int) -> None:
        """Writes the programs that any set of tenants may need, so that no request waits for one."""
        limit, bucket = max(self._stack.slots, default=-1) + 1, bucket_of(num_rows)
        self.anywhere.prepare(min(limit, _MOST_TOGETHER), bucket)
        size = 1
        while size < 2 * limit:
            for start in range(0, limit, size):
                places = range(start, min(start + size, limit))
                if not self._stack.slots.isdisjoint(places) and (size == 1 or self._blocks.gain(len(places)) > 1.0):
                    programs = self._programs(tuple(places), bucket)
                    for segment in self._segments:
                        programs(segment)
            size *= 2

    # ── taking apart ─────────────────────────────────────────────────────────────────────────

    def _made(self, slots: tuple[int, ...], bucket: int) -> Plan:
        place_of = {slot: place for place, slot in enumerate(slots)}
        bases: dict[tuple[int, ...], list[int]] = {}
        for slot in slots:
            bases.setdefault(self._base(slot), []).append(slot)
        settled, parts = True, []
        for members in bases.values():
            if (part := self.anywhere.cheapest(members, bucket)) is not None:
                parts.append((tuple([place_of[slot] for slot in members]), part))
                continue
            runs, for_good = self._runs(members, slots)
            settled = settled and for_good
            for places, run in runs:
                parts.append((tuple([place_of[slot] for slot in run]), self._part(tuple(places), run, bucket)))
        whole = parts[0][1] if len(parts) == 1 else None
        return Plan(parts, whole, settled)

    def learn_gain(self, num_slots: int, gain: float) -> None:
        """So many tenants together take ``1 / gain`` of the time that they take one by one."""
        self._blocks.learn_gain(num_slots, gain)
        self._plans.clear()

    def _runs(self, members: Sequence[int], slots: tuple[int, ...]) -> tuple[list[Run], bool]:
        """Places in the stack that run together, each with its members; and whether it will stay so."""
        if len(members) == 1 or self._stack.is_same(members):
            return [(members[:1], members)], True
        limit = max(self._stack.slots) + 1
        _, runs = self._blocks.cheapest(0, bucket_of(limit), members, limit)
        if len(runs) == 1 and len(runs[0][0]) == len(members):
            return runs, True
        if not self._is_hot(slots):
            return runs, False
        return runs if self._stack.copied_bytes(members) > self._budget // 2 else [(members, members)], True

    def _base(self, slot: int) -> tuple[int, ...]:
        if slot not in self._bases:
            self._bases[slot] = self._stack.base(slot)
        return self._bases[slot]

    def _is_hot(self, slots: tuple[int, ...]) -> bool:
        times = self._times[slots] = self._times.get(slots, 0) + 1
        if len(self._times) > _MAX_PLANS:
            self._times.clear()
        return times >= _HOT

    def _part(self, places: tuple[int, ...], members: Sequence[int], bucket: int) -> Part:
        """Runs ``members``, which are among the slots ``places``."""
        if len(members) == 1:
            return self._alone(members[0], bucket)
        if len(places) == 1 and not self._is_exact:
            return Joined(self._launched(places, bucket * bucket_of(len(members))), fills=self.graphs is not None)
        places = places if len(places) > 1 else tuple(members)
        group, wanted = self.group(places), set(members)
        used = [place for place, slot in enumerate(places) if slot in wanted]
        fill = bucket if self._is_exact or (self.graphs and bucket <= MOST_FILLED) else None
        together = Stacked(self._launched(places, bucket), len(places), used, fill)
        return Measured(
            together,
            lambda: OneByOne([self._alone(slot, bucket) for slot in members]),
            lambda segment: self._is_apart(segment, group, bucket),
        )

    def _alone(self, slot: int, bucket: int) -> Part:
        programs = self._launched((slot,), bucket)
        return Stacked(programs, 1, [0], bucket) if self._is_exact else Joined(programs, fills=self.graphs is not None)

    # ── programs ─────────────────────────────────────────────────────────────────────────────

    def _programs(self, slots: tuple[int, ...], num_rows: int) -> ProgramOf:
        """Made once for these slots, whoever of them is wanted."""
        key = (slots, bucket_of(num_rows))
        if key in self._programs_of:
            return self._programs_of[key]
        made: dict[int, Program] = {}
        group = self.group(slots)

        def program(segment: Segment) -> Program:
            if segment.place not in made:
                made[segment.place] = self._program(segment, slots, group, self._kernels(segment, group, num_rows))
            return made[segment.place]

        return self._programs_of.setdefault(key, program)

    def _launched(self, slots: tuple[int, ...], num_rows: int) -> ProgramOf:
        """The same, run as graphs where the device has them."""
        programs, graphs = self._programs(slots, num_rows), self.graphs
        if graphs is None:
            return programs

        def program(segment: Segment) -> Program:
            plain = programs(segment)
            return dataclasses.replace(plain, function=functools.partial(graphs.run, plain.function))

        return functools.cache(program)

    def _program(self, segment: Segment, slots: tuple[int, ...], group: Group, kernels: Kernels) -> Program:
        """Programs do not depend on rows, so those with the same kernels are the same."""
        key = (slots, segment.place, frozenset(kernels.items()))
        if key not in self._written:
            self._written[key] = build(segment.graph, group, kernels)
        return self._written[key]

    def _kernels(self, segment: Segment, group: Group, num_rows: int) -> Kernels:
        if not self._is_exact:
            choice = self.choice(segment, group, num_rows)
            return choice.kernels if choice else {}
        return self._exact_kernels(segment, num_rows)

    def _exact_kernels(self, segment: Segment, num_rows: int) -> Kernels:
        key = (segment.key, bucket_of(num_rows))
        if key not in self._exact:
            self._exact[key] = exact_kernels(segment.graph, key[1], self._device)
        return self._exact[key]

    def choice(self, segment: Segment, group: Group, num_rows: int) -> Choice | None:
        """What was measured for such a group."""
        return self._choices.get(choice_key(segment, group, num_rows))

    def _is_apart(self, segment: Segment, group: Group, bucket: int) -> bool:
        choice = self.choice(segment, group, bucket)
        if choice is not None:
            return choice.loop
        return sum(tensor_bytes(weight) for weight in group.stacked.values()) > _CACHED


def choice_key(segment: Segment, group: Group, num_rows: int) -> str:
    """What a choice depends on: operators, tenants and rows (to the next power of two), which weights differ."""
    differ = "".join("01"[name in group.stacked] for name in sorted(segment.graph.weights))
    return f"{segment.key}:{bucket_of(group.num_tenants)}:{bucket_of(num_rows)}:{int(differ or '0', 2):x}"
