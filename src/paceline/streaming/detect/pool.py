"""All detectors of a set of configurations, loaded and warm before the first frame: a switch costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from paceline.errors import ConfigError, ResourceError
from paceline.streaming.detect.detector import Detector
from paceline.streaming.frame import Frame, Size

WARM: Final = 2  # runs of each at the start


@dataclass(frozen=True, slots=True)
class Loadable:
    """A detector that can be had, and about how many bytes it takes."""

    name: str
    load: Callable[[], Detector]
    num_bytes: int = 0


@final
class Pool(Mapping[str, Detector]):
    """Detectors by name. ResourceError before any is loaded if all of them take more than ``memory_budget`` bytes."""

    def __init__(self, loadables: Iterable[Loadable], *, size: Size, memory_budget: int | None = None) -> None:
        known: dict[str, Loadable] = {}
        for each in loadables:
            if each.name in known:
                raise ConfigError(f"detector {each.name!r} is given twice")
            known[each.name] = each
        _require_memory(known, memory_budget)
        self._detectors = {name: each.load() for name, each in known.items()}
        black = Frame(0, 0, size, np.zeros((size[1], size[0], 3), np.uint8))
        for detector in self._detectors.values():
            for _ in range(WARM):
                detector(black)

    def __getitem__(self, name: str) -> Detector:
        return self._detectors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._detectors)

    def __len__(self) -> int:
        return len(self._detectors)


def _require_memory(known: Mapping[str, Loadable], memory_budget: int | None) -> None:
    need = sum(each.num_bytes for each in known.values())
    if memory_budget is None or need <= memory_budget:
        return
    largest = max(known.values(), key=lambda each: each.num_bytes)
    raise ResourceError(
        f"{len(known)} detectors take about {need >> 20} MiB, but memory_budget is {memory_budget >> 20} MiB; raise it, or leave out "
        f"{largest.name!r}, which takes {largest.num_bytes >> 20} MiB"
    )
