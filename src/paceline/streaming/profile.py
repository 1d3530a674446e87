"""What detectors take on this machine: measured once, corrected while they run. Only `measure` touches a detector."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias, final

import msgspec

from paceline.clock import to_microseconds
from paceline.decision import Average, Calibrated, Table
from paceline.errors import ConfigError, ResourceError
from paceline.metrics import percentile
from paceline.streaming.frame import Detections, Frame

WARM: Final = 3  # runs before any is measured
FEWEST: Final = 5  # runs that are measured, however long they take
SPREAD: Final = 1.2  # of the 99th percentile over the median, at least: few samples hold no slow one

Samples: TypeAlias = Sequence[float]  # seconds


class Measured(msgspec.Struct, frozen=True):
    """Samples of one detector, and how many threads it had. ``processor_s`` is what its threads worked."""

    configuration: str
    threads: int
    wall_s: tuple[float, ...]
    processor_s: tuple[float, ...] = ()


class Profile(msgspec.Struct, frozen=True):
    """All that was measured on one machine; as JSON what the command line writes and the packaged detectors bring."""

    profiles: tuple[Measured, ...]
    processor: str = ""
    about: str = ""

    def samples(self, threads: int = 1) -> dict[str, Samples]:
        """Seconds by detector."""
        found = {each.configuration: each.wall_s for each in self.profiles if each.threads == threads}
        if not found:
            known = sorted({each.threads for each in self.profiles})
            raise ConfigError(f"nothing was profiled with threads={threads}; known: {known}")
        return dict(found)

    def quantiles_s(self, shares: Sequence[float] = (0.5, 0.95, 0.99)) -> dict[tuple[str, int], tuple[float, ...]]:
        """By detector and threads."""
        return {
            (each.configuration, each.threads): tuple([percentile(each.wall_s, 100 * share) for share in shares])
            for each in self.profiles
        }


def read(path: Path) -> Profile:
    """ConfigError if the file holds no profile."""
    try:
        profile = msgspec.json.decode(path.read_bytes(), type=Profile)
    except OSError as error:
        raise ResourceError(f"cannot read the profile {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no profile: {error}") from error
    for each in profile.profiles:
        if not each.wall_s or min(each.wall_s) <= 0 or each.threads < 1:
            raise ConfigError(f"{path} is no profile: {each.configuration!r} must have threads >= 1 and wall_s > 0")
    return profile


def write(path: Path, profile: Profile) -> None:
    """A file that ``read`` gives back."""
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(profile), indent=1))
    except OSError as error:
        raise ResourceError(f"cannot write the profile {path}: {error.strerror}") from error


def measure(
    detector: Callable[[Frame], Detections],
    frames: Sequence[Frame],
    *,
    name: str,
    threads: int = 1,
    repeats: int = 100,
    most_s: float = 10.0,
) -> Measured:
    """Runs a detector over ``frames`` again and again, ``repeats`` times or for ``most_s``."""
    if not frames or repeats < 1:
        raise ConfigError(f"a profile needs frames and repeats >= 1, got {len(frames)} frames and {repeats} repeats")
    for place in range(WARM):
        detector(frames[place % len(frames)])
    wall_s: list[float] = []
    processor_s: list[float] = []
    end = time.monotonic() + most_s
    while len(wall_s) < repeats and (len(wall_s) < FEWEST or time.monotonic() < end):
        frame = frames[len(wall_s) % len(frames)]
        started, used = time.perf_counter(), time.process_time()
        detector(frame)
        wall_s.append(time.perf_counter() - started)
        processor_s.append(time.process_time() - used)
    return Measured(name, threads, tuple(wall_s), tuple(processor_s))


@final
class Runtimes:
    """What each detector is going to take, by its samples and by what its runs have taken lately.

    Detectors of like length share what is learned about contention.

    >>> runtimes = Runtimes({"d1": [0.010], "d4": [0.065]})
    >>> runtimes.typical_us("d4"), runtimes.high_us("d4"), runtimes.contention
    (65000, 78000, 1.0)
    >>> for _ in range(50):
    ...     runtimes.observe("d4", 0.090)
    >>> 80_000 < runtimes.typical_us("d4") < 95_000, round(runtimes.contention, 2)
    (True, 1.38)
    """

    def __init__(self, samples: Mapping[str, Samples]) -> None:
        if not samples:
            raise ConfigError("no detector is profiled; at least one is needed")
        for name, seconds in samples.items():
            if not seconds or not 0 < min(seconds) <= max(seconds) < float("inf"):
                raise ConfigError(f"the profile of detector {name!r} must hold seconds > 0, got {list(seconds)}")
        self._profiled_s = {name: percentile(seconds, 50) for name, seconds in samples.items()}
        self._spread = {
            name: max(SPREAD, percentile(seconds, 99) / self._profiled_s[name]) for name, seconds in samples.items()
        }
        self._features = {name: (1000 * typical_s,) for name, typical_s in self._profiled_s.items()}  # milliseconds
        table = Table([sorted({feature for (feature,) in self._features.values()})])
        for name, seconds in samples.items():
            table.profile(self._features[name], seconds)
        self._model = Calibrated(table)
        self._contention = Average()
        self._typical_us: dict[str, int] = {}

    @property
    def detectors(self) -> tuple[str, ...]:
        return tuple(self._profiled_s)

    @property
    def contention(self) -> float:
        """How many times longer than profiled runs take lately."""
        return self._contention.mean if self._contention.count else 1.0

    def typical_us(self, detector: str) -> int:
        """The duration to expect."""
        known = self._typical_us.get(detector)
        if known is None:
            mean_s = self._model.predict(self._feature(detector)).mean_s
            known = self._typical_us[detector] = to_microseconds(mean_s)
        return known

    def high_us(self, detector: str) -> int:
        """The duration that one run in a hundred exceeds."""
        return round(self.typical_us(detector) * self._spread[detector])

    def observe(self, detector: str, seconds: float) -> None:
        """Learns that a run took so long."""
        self._model.observe(self._feature(detector), seconds)
        self._contention.observe(seconds / self._profiled_s[detector])
        self._typical_us.clear()

    def _feature(self, detector: str) -> tuple[float]:
        if detector not in self._features:
            raise ConfigError(f"detector {detector!r} is not profiled; known: {', '.join(self._features)}")
        return self._features[detector]
