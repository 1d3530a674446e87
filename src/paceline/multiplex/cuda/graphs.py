"""Programs as CUDA graphs: one launch in place of one per operator.

A graph is of one program and one shape of its inputs. It reads from slots of its own and its results are copied out, so
that who holds them does not see those of the next run.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, final

import torch
from torch import Tensor

Function: TypeAlias = Callable[..., tuple[Tensor, ...]]
_Key: TypeAlias = tuple[Function, tuple[torch.Size, ...]]

_USES: Final = 3  # a graph is worth its capture from here on: then it waits for a moment without requests
_MANY_USES: Final = 64  # a device that never rests gets it all the same
_MAX_PROGRAMS: Final = 4096
_GRAPH_BYTES: Final = 256 << 10  # what a graph takes besides tensors: about a kilobyte for each of its kernels

_log = logging.getLogger(__name__)


class Recorded(Protocol):
    """A function for inputs of one shape, ready to be run again."""

    @property
    def num_bytes(self) -> int: ...
    def replay(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]: ...


Record: TypeAlias = Callable[[Function, Sequence[Tensor]], Recorded]
"""Records a function for inputs like these; RuntimeError if it cannot be recorded."""


@dataclass(slots=True)
class _Program:
    """A function at one shape. ``is_refused``: there will be no graph of it."""

    dtypes: list[torch.dtype]
    uses: int = 0
    recorded: Recorded | None = None
    is_refused: bool = False

    @property
    def num_bytes(self) -> int:
        return 0 if self.recorded is None else self.recorded.num_bytes


@final
class Graphs:
    """The most recently used graphs, up to ``max_bytes`` of them. For one thread; all is to be called in inference mode."""

    def __init__(self, record: Record, device: torch.device, max_bytes: int) -> None:
        self._record = record
        self._device = device
        self._max_bytes = max_bytes
        self._programs: OrderedDict[_Key, _Program] = OrderedDict()

    def run(self, function: Function, *tensors: Tensor) -> tuple[Tensor, ...]:
        """``function(*tensors)``, by a graph where there is one. The tensors may lie in the host's memory."""
        key = (function, tuple([tensor.shape for tensor in tensors]))
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = _Program([tensor.dtype for tensor in tensors])
            if len(self._programs) > _MAX_PROGRAMS:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        program.uses += 1
        if program.uses >= _MANY_USES and program.recorded is None and not program.is_refused:
            self._capture(key)
        if program.recorded is not None:
            return program.recorded.replay(tensors)
        return function(*[tensor.to(self._device) for tensor in tensors])

    def capture_next(self) -> bool:
        """Records one of those that are worth it; False if there is none. To be called when nobody waits for the device."""
        for key, program in self._programs.items():
            if program.uses >= _USES and program.recorded is None and not program.is_refused:
                self._capture(key)
                return True
        return False

    def forget(self, kept: Collection[Function] = ()) -> None:
        """Drops what belongs to other functions than these, and the weights that they hold with it."""
        held = set(kept)
        self._programs = OrderedDict((key, each) for key, each in self._programs.items() if key[0] in held)

    def memory_bytes(self) -> int:
        return sum(program.num_bytes for program in list(self._programs.values()))

    def _capture(self, key: _Key) -> None:
        function, shapes = key
        program = self._programs[key]
        slots = [_example(shape, dtype, self._device) for shape, dtype in zip(shapes, program.dtypes, strict=True)]
        try:
            recorded = self._record(function, slots)
            if recorded.num_bytes > self._max_bytes:
                raise RuntimeError(f"it would take {recorded.num_bytes} bytes of {self._max_bytes}")
        except RuntimeError as error:
            _log.warning("a program runs without a graph: %s", error)
            program.is_refused = True
            return
        program.recorded = recorded
        self._programs.move_to_end(key)
        excess = self.memory_bytes() - self._max_bytes
        for other in self._programs.values():
            if excess <= 0:
                break
            excess -= other.num_bytes
            other.recorded, other.uses = None, 0


def _example(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Random numbers, and zeros where numbers may be places in a table."""
    made = torch.zeros(shape, dtype=dtype, device=device)
    return made.normal_() if dtype.is_floating_point else made


@final
class CudaGraph:
    """A function recorded by the device itself. ``slots`` are what it reads from then on.

    RuntimeError if it cannot be recorded, or if the graph gives other bits than the function.
    """

    def __init__(self, function: Function, slots: Sequence[Tensor], pool: Any) -> None:
        device = slots[0].device
        self._slots = slots
        self.graph = torch.cuda.CUDAGraph()
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):  # kernels are compiled and workspaces made outside the capture
            expected = function(*slots)
        torch.cuda.current_stream(device).wait_stream(side)
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_reserved(device)
        # Models that are served alone may use the device from threads of their own meanwhile.
        with torch.cuda.device(device), torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
            self._results = function(*slots)
        grown = torch.cuda.memory_reserved(device) - before
        self.num_bytes = _GRAPH_BYTES + max(grown, 0) + sum(map(_num_bytes, (*slots, *self._results)))
        self.graph.replay()
        for made, wanted in zip(self._results, expected, strict=True):
            if not torch.equal(made.nan_to_num(), wanted.nan_to_num()):
                raise RuntimeError("its graph gives other bits")

    def replay(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        for slot, tensor in zip(self._slots, tensors, strict=True):
            slot.copy_(tensor)
        self.graph.replay()
        return tuple([each.clone() for each in self._results])


def cuda_graphs(device: torch.device, max_bytes: int) -> Graphs:
    """Graphs of a CUDA device. They share memory for what lies between: one runs at a time."""
    anchors: list[CudaGraph] = []  # torch takes a pool for new graphs only while one that uses it is alive

    def record(function: Function, slots: Sequence[Tensor]) -> CudaGraph:
        if not anchors:
            anchors.append(CudaGraph(lambda one: (one + 1,), [torch.zeros(1, device=device)], None))
        return CudaGraph(function, slots, anchors[0].graph.pool())

    return Graphs(record, device, max_bytes)


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
