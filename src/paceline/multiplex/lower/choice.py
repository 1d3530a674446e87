"""Which way a program is run, found by measuring, and kept in a file per device.

The best kernel alone is not the best in company, so whole programs are compared: variant after variant for each kind of
operator, and in the end with the plain loop over the tenants.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, final

import msgspec
import torch

from paceline import __version__
from paceline.errors import ResourceError
from paceline.multiplex.lower.compare import are_close
from paceline.multiplex.lower.group import Group, tensor_bytes
from paceline.multiplex.lower.program import Columns, Kernels, Loop, Program, build
from paceline.multiplex.lower.rules import kernel_key, variants
from paceline.multiplex.native import library
from paceline.multiplex.op import Graph
from paceline.process.atomic import write_atomic
from paceline.process.cache_home import cache_home

_log = logging.getLogger(__name__)

_GAIN: Final = 1.05  # less than this over the loop is no gain
_BETTER: Final = 0.97  # a variant must take less than this share of the time
_ROUNDS: Final = (3, 25)
_BUDGET_S: Final = 0.06  # of one comparison, beyond the fewest rounds
_OTHER_NUMBERS: Final = 1 << 20  # 4 MiB: more than a second-level cache holds
_TRIALS_S: Final = 3.0  # of all comparisons of variants
_SLOW_S: Final = 0.1  # programs slower than this are compared with the loop alone
_CPUINFO: Final = Path("/proc/cpuinfo")
_MAX_BYTES: Final = 4 << 20


class Choice(msgspec.Struct, frozen=True):
    """``kernels`` by key of the operator; ``loop`` if nothing is gained. ``gain`` is measured: loop over stacked.

    ``anywhere`` is that of a program which is told its tenants when it runs; 0 if there is none.
    """

    kernels: dict[str, str]
    loop: bool
    gain: float
    anywhere: float = 0.0


def choose(
    graph: Graph,
    group: Group,
    apart: Loop | None,
    columns: Columns,
    *,
    copy_bytes: int,
    anywhere: Program | None = None,
) -> Choice:
    """Measures ways to run this graph for this group on these inputs.

    ``apart`` runs its tenants one by one; None if there is but one. ``anywhere`` runs them wherever they lie. Variants that copy weights are tried if the copies
    are within ``copy_bytes``.
    """
    kernels: dict[str, str] = {}
    program = build(graph, group)
    expected = program(columns)
    end = time.perf_counter() + (_TRIALS_S if timed(program, columns) < _SLOW_S else 0.0)
    copies, on_cuda = _weight_bytes(group) <= copy_bytes, columns[0][0].is_cuda
    for tried in _trials(graph, group, copies=copies, on_cuda=on_cuda):
        if time.perf_counter() > end or all(kernels.get(key, "") == variant for key, variant in tried.items()):
            continue
        other = _working(graph, group, {**kernels, **tried}, columns, expected)
        if other is None:
            continue
        before, after = usual_times([program, other], columns)
        if after < _BETTER * before:
            kernels, program = {**kernels, **tried}, other
    group.forget_prepared()
    if apart is None:
        return Choice(kernels, False, 1.0)
    if anywhere is not None and not _agree(anywhere(columns), expected):
        anywhere = None
    together, one_by_one, *others = usual_times([program, apart, *([anywhere] if anywhere else [])], columns)
    gain = one_by_one / together
    is_apart = gain < _GAIN or not _agree(expected, apart(columns))
    return Choice(kernels, is_apart, round(gain, 3), *[round(one_by_one / other, 3) for other in others])


def _working(graph: Graph, group: Group, kernels: Kernels, columns: Columns, expected: Columns) -> Program | None:
    """The program with these kernels; None if this device, or these types of numbers, have no such kernel."""
    try:
        program = build(graph, group, kernels)
        made = program(columns)
    except RuntimeError as error:
        _log.debug("%s cannot be used: %s", kernels, error)
        return None
    return program if _agree(made, expected) else None


def _agree(made: Columns, expected: Columns) -> bool:
    return all(map(are_close, made, expected))


def _trials(graph: Graph, group: Group, *, copies: bool, on_cuda: bool) -> Iterator[dict[str, str]]:
    """Each variant for all operators that have it, since neighbours like the same layout; then operator by operator."""
    found = {
        kernel_key(graph, op): variants(graph, op, group.stacked, copies=copies, on_cuda=on_cuda)[1:]
        for op in graph.ops
    }
    for variant in dict.fromkeys(variant for others in found.values() for variant in others):
        yield {key: variant for key, others in found.items() if variant in others}
    for key, others in found.items():
        for variant in ("", *others):
            yield {key: variant}


def _weight_bytes(group: Group) -> int:
    return sum(map(tensor_bytes, (*group.shared.values(), *group.stacked.values())))


def usual_times(arms: Sequence[Program | Loop], columns: Columns) -> list[float]:
    """Seconds of each, their runs taken in turn, so that a busy moment hits all alike.

    The first quartile: on a machine that others use too, the median says more about them. Before each run the nearer
    caches are filled with other numbers, as they are when other models have run.
    """
    fewest, most = _ROUNDS
    times: list[list[float]] = [[] for _ in arms]
    others = torch.zeros(_OTHER_NUMBERS)
    for arm in arms:
        arm(columns)
    start = time.perf_counter()
    for done in range(most):
        if done >= fewest and time.perf_counter() - start > _BUDGET_S:
            break
        for arm, taken in zip(arms, times, strict=True):
            others.add_(1.0)
            taken.append(timed(arm, columns))
    return [statistics.quantiles(taken, n=4)[0] for taken in times]


def timed(arm: Callable[[Columns], object], columns: Columns) -> float:
    device = columns[0][0].device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    arm(columns)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


@final
class Choices:
    """What was measured before, by key. Read from the device's file at the start, written after every new one."""

    def __init__(self, family: str, device: torch.device) -> None:
        self._path = _path(family, device)
        self._known = _load(self._path)

    def get(self, key: str) -> Choice | None:
        return self._known.get(key)

    def put(self, key: str, choice: Choice) -> None:
        self._known[key] = choice
        if self._path is None:
            return
        try:
            write_atomic(self._path, msgspec.json.encode(self._known))
        except ResourceError as error:
            _log.warning("what was measured is not kept: %s", error)

    def __len__(self) -> int:
        return len(self._known)


def _path(family: str, device: torch.device) -> Path | None:
    root = cache_home()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu()
    parts = (__version__, str(torch.__version__), name, torch.get_num_threads(), library.level(), family)
    digest = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
    return None if root is None else root / f"multiplex-{digest[:32]}.json"


def _cpu() -> str:
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    return next((line for line in lines if line.startswith("model name")), platform.machine())


def _load(path: Path | None) -> dict[str, Choice]:
    try:
        if path is None or path.stat().st_size > _MAX_BYTES:
            return {}
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Choice])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        _log.warning("%s is ignored, its programs will be measured anew: %s", path, error)
        return {}
