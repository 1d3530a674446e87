"""What sections share: finished cells, the protocol, and sweeps that are kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.common.cells import Cells
from benchmarks.streaming.protocol import Protocol
from benchmarks.streaming.scenes import CONFIGURATIONS, Scene, pipelines, scenes
from paceline.streaming.configuration import Configuration
from paceline.streaming.frame import Log
from paceline.streaming.policy import Fixed
from paceline.streaming.sweep import Found, Run, Sweep, joined, run, sweep

Group = tuple[str, int, int]


@dataclass(slots=True)
class Work:
    cells: Cells
    protocol: Protocol
    folder: Path
    _scenes: dict[Group, list[Scene]] = field(default_factory=dict)

    def scenes(self, groups: Sequence[Group]) -> list[Scene]:
        """Logs with their detections."""
        for group in groups:
            if group not in self._scenes:
                self._scenes[group] = list(scenes(*group, self.protocol.duration_s))
        return [scene for group in groups for scene in self._scenes[group]]

    def sweep(self, groups: Sequence[Group], forecast: bool) -> Sweep:
        """Every configuration over every log of these groups."""
        return joined([self._one(group, forecast) for group in groups])

    def forget(self) -> None:
        """Frees logs that are not needed again."""
        self._scenes.clear()

    def _one(self, group: Group, forecast: bool) -> Sweep:
        kind, seed, count = group
        path = self.folder / f"{kind}-{seed}-{count}-{'forecast' if forecast else 'plain'}.npz"
        if path.exists():
            return Sweep.load(path)
        make = pipelines(forecast)

        def alone(configuration: Configuration, log: Log, found: Found) -> Run:
            return run(make, Fixed(configuration.name), log, found)

        made = sweep(self.scenes([group]), CONFIGURATIONS[forecast], alone)
        made.save(path)
        return made
