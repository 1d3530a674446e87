"""Every configuration alone over every log, in virtual time: what it got right in each frame, and what it showed of the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, final

import numpy as np

from paceline.errors import ConfigError, ModelError
from paceline.streaming.configuration import Configuration
from paceline.streaming.features import NAMES
from paceline.streaming.forest import read_arrays, write_arrays
from paceline.streaming.frame import Detections, Floats, Ints, Log, Output, Size
from paceline.streaming.pipeline import WINDOW_S, Pipeline
from paceline.streaming.policy import Policy
from paceline.streaming.score.associate import LEFT_OUT
from paceline.streaming.score.clear import Counts, clear
from paceline.streaming.simulate import Simulated, simulate

MakePipeline: TypeAlias = Callable[[Policy, Size], Pipeline]
"""A new pipeline over all configurations, that asks this policy."""
Found: TypeAlias = Callable[[str, int], tuple[float, Detections]]
"""Seconds and detections, of a detector in a frame."""

FALSE_NEGATIVES, FALSE_POSITIVES, SWITCHES, TRUTHS = range(4)  # of counts, in this order
_ARRAYS: Final = ("counts", "offline", "windows", "features", "agreement")


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One log under one policy. Counts are misses, false alarms, switches and objects of each frame."""

    counts: Ints  # [F, 4]
    offline: Ints  # [F, 4], of outputs against the moment of their picture; zero in frames that were not taken
    features: Floats  # [W, K], as told to the policy after each window; nan where it was not asked
    agreement: Floats  # [W]
    choices: tuple[str, ...]  # W
    simulated: Simulated

    @property
    def score(self) -> float:
        """S-MOTA; nan without objects."""
        truths = int(self.counts[:, TRUTHS].sum())
        return 1 - int(self.counts[:, :TRUTHS].sum()) / truths if truths else float("nan")


@final
class Recorder:
    """A policy that writes down what another is told and says."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.features: list[Floats | None] = []
        self.choices: list[str] = []
        self.agreements: list[float] = []
        self._heard = float("nan")

    def choose(self, features: Floats | None, current: str, now_us: int) -> str:
        name = self._policy.choose(features, current, now_us)
        self.features.append(features)
        self.choices.append(name)
        self.agreements.append(self._heard)
        self._heard = float("nan")
        return name

    def observe(self, configuration: str, agreement: float, now_us: int) -> None:
        self._policy.observe(configuration, agreement, now_us)
        self._heard = agreement


def run(make_pipeline: MakePipeline, policy: Policy, log: Log, found: Found) -> Run:
    """One log in virtual time."""
    recorder = Recorder(policy)
    pipeline = make_pipeline(recorder, log.size)
    done = simulate(pipeline, log, lambda start: found(start.configuration.detector, start.frame.index))
    streaming = clear(done.shown, log).only(slice(LEFT_OUT, None))
    num_windows = int(windows_of(log).max(initial=-1)) + 1
    features, agreement = np.full((num_windows, len(NAMES)), np.nan), np.full(num_windows, np.nan)
    for place, told in enumerate(recorder.features[1 : num_windows + 1]):
        if told is not None:
            features[place] = told
            agreement[place] = recorder.agreements[place + 1]
    return Run(_table(streaming), _offline(done.outputs, log), features, agreement, tuple(recorder.choices), done)


def windows_of(log: Log, window_s: float = WINDOW_S) -> Ints:
    """The window of each frame.  # [F]"""
    return np.asarray((log.times_us - log.times_us[:1]) // round(window_s * 1e6))


def _offline(outputs: Sequence[Output], log: Log) -> Ints:
    shown = {output.frame_index: output.tracks for output in outputs}
    counts = clear(tuple([shown.get(index) for index in range(len(log.truths))]), log)
    taken = np.array([index in shown and index >= LEFT_OUT for index in range(len(log.truths))], bool)
    return _table(counts.only(taken))


def _table(counts: Counts) -> Ints:
    """# [F, 4]"""
    return np.stack((counts.false_negatives, counts.false_positives, counts.switches, counts.truths), 1)


class _Shape(NamedTuple):
    configurations: int
    logs: int
    frames: int
    windows: int


@dataclass(frozen=True, eq=False)
class Sweep:
    """C configurations over L logs of up to F frames and W windows. Frames that a log lacks hold zeros and belong to window -1."""

    configurations: tuple[str, ...]
    logs: tuple[str, ...]
    counts: Ints  # [C, L, F, 4]: misses, false alarms, switches, objects
    offline: Ints  # [C, L, F, 4]
    windows: Ints  # [L, F]
    features: Floats  # [C, L, W, K]
    agreement: Floats  # [C, L, W]

    @property
    def num_logs(self) -> int:
        return len(self.logs)

    @property
    def num_windows(self) -> int:
        return int(self.features.shape[2])

    @cached_property
    def errors(self) -> Ints:
        """# [C, L, W]"""
        return self._by_window(self.counts[..., :TRUTHS].sum(-1))

    @cached_property
    def truths(self) -> Ints:
        """# [L, W]"""
        return np.asarray(self._by_window(self.counts[:1, ..., TRUTHS])[0])

    @cached_property
    def offline_windows(self) -> tuple[Ints, Ints]:
        """Errors and objects, were there no latency; of frames that were taken.  # [C, L, W], [C, L, W]"""
        return self._by_window(self.offline[..., :TRUTHS].sum(-1)), self._by_window(self.offline[..., TRUTHS])

    def only(self, logs: Sequence[int]) -> Sweep:
        """Some of the logs."""
        kept = list(logs)
        return Sweep(
            self.configurations, tuple([self.logs[place] for place in kept]), self.counts[:, kept], self.offline[:, kept],
            self.windows[kept], self.features[:, kept], self.agreement[:, kept],
        )  # fmt: skip

    def _by_window(self, values: Ints) -> Ints:
        within = self.windows[:, :, None] == np.arange(self.num_windows)  # [L, F, W]
        return np.asarray(np.einsum("clf,lfw->clw", values, within.astype(np.int64)))

    def save(self, path: Path) -> None:
        """One ``npz`` file with a JSON header."""
        write_arrays(
            path,
            {name: getattr(self, name) for name in _ARRAYS},
            {"configurations": list(self.configurations), "logs": list(self.logs), "features": list(NAMES)},
        )

    @classmethod
    def load(cls, path: Path) -> Sweep:
        arrays, header = read_arrays(path)
        if arrays.keys() != set(_ARRAYS) or not {"configurations", "logs", "features"} <= header.keys():
            raise ModelError(f"{path}: not a sweep")
        if tuple(header["features"]) != NAMES:
            raise ModelError(f"{path}: holds other features than this version knows; sweep anew")
        return cls(tuple(header["configurations"]), tuple(header["logs"]), **arrays)


def sweep(
    logs: Iterable[tuple[Log, Found]],
    configurations: Sequence[Configuration],
    alone: Callable[[Configuration, Log, Found], Run],
) -> Sweep:
    """Runs all over all. ``alone`` is how one configuration runs over one log, say by `run` with the policy `Fixed`."""
    names, rows, frames = [], [], []
    for log, found in logs:
        names.append(log.name)
        rows.append([alone(configuration, log, found) for configuration in configurations])
        frames.append(windows_of(log))
    if not names:
        raise ConfigError("there is no log to sweep; give at least one")
    shape = _Shape(
        len(configurations), len(names), max(len(each) for each in frames), max(int(each.max()) + 1 for each in frames)
    )
    return _filled(shape, tuple([each.name for each in configurations]), names, rows, frames)


def _filled(
    shape: _Shape, configurations: tuple[str, ...], names: list[str], rows: list[list[Run]], frames: list[Ints]
) -> Sweep:
    counts, offline = (np.zeros((*shape[:3], 4), np.int64) for _ in range(2))
    windows = np.full((shape.logs, shape.frames), -1)
    features = np.full((shape.configurations, shape.logs, shape.windows, len(NAMES)), np.nan)
    agreement = np.full(features.shape[:3], np.nan)
    for log, (row, places) in enumerate(zip(rows, frames, strict=True)):
        windows[log, : len(places)] = places
        for configuration, done in enumerate(row):
            counts[configuration, log, : len(places)] = done.counts
            offline[configuration, log, : len(places)] = done.offline
            features[configuration, log, : len(done.features)] = done.features
            agreement[configuration, log, : len(done.agreement)] = done.agreement
    return Sweep(configurations, tuple(names), counts, offline, windows, features, agreement)


def joined(parts: Sequence[Sweep]) -> Sweep:
    """Sweeps of the same configurations over logs of the same length, as one."""
    first = parts[0]
    for part in parts:
        if part.configurations != first.configurations or part.windows.shape[1:] != first.windows.shape[1:]:
            raise ConfigError("sweeps of different configurations, or over logs of different length, cannot be joined")
    counts, offline, features, agreement = (
        np.concatenate([getattr(part, name) for part in parts], axis=1)
        for name in ("counts", "offline", "features", "agreement")
    )
    logs = tuple([name for part in parts for name in part.logs])
    return Sweep(
        first.configurations,
        logs,
        counts,
        offline,
        np.concatenate([part.windows for part in parts]),
        features,
        agreement,
    )
