"""When work arrives: evenly, at random, in bursts, or as it once did.

Arrival times are integer microseconds. Items are handed through, so any part can send its own.
The same seed gives the same times on every machine.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import random
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from paceline.clock import to_microseconds
from paceline.errors import ConfigError

T = TypeVar("T")


class Arrival(NamedTuple, Generic[T]):
    """An item and the moment it arrives, in microseconds."""

    at: int
    item: T


def every(interval_s: float, items: Iterable[T]) -> Iterator[Arrival[T]]:
    """One item each ``interval_s``, the first at 0.

    >>> [arrival.at for arrival in every(0.002, "abc")]
    [0, 2000, 4000]
    """
    if interval_s < 0.0:
        raise ConfigError(f"interval_s must be >= 0, got {interval_s}")
    return (Arrival(to_microseconds(index * interval_s), item) for index, item in enumerate(items))


def poisson(rate_per_s: float, items: Iterable[T], *, seed: int = 0) -> Iterator[Arrival[T]]:
    """Independent arrivals, ``rate_per_s`` of them in a mean second.

    >>> times = [arrival.at for arrival in poisson(100.0, range(1000))]
    >>> 9_000_000 < times[-1] < 11_000_000
    True
    """
    return bursts(rate_per_s, 1.0, items, seed=seed)


def bursts(rate_per_s: float, variation: float, items: Iterable[T], *, seed: int = 0) -> Iterator[Arrival[T]]:
    """Gamma-distributed gaps: mean ``1 / rate_per_s``, standard deviation ``variation`` times that.

    ``variation`` 1 is Poisson; 2 to 4 comes in bursts.
    """
    if not (rate_per_s > 0.0 and variation > 0.0):
        raise ConfigError(f"rate_per_s and variation must be > 0, got {rate_per_s} and {variation}")
    shape = 1.0 / variation**2
    return _with_gamma_gaps(shape, 1.0 / (shape * rate_per_s), items, random.Random(seed))


def _with_gamma_gaps(shape: float, scale_s: float, items: Iterable[T], rng: random.Random) -> Iterator[Arrival[T]]:
    time_s = 0.0
    for item in items:
        time_s += rng.gammavariate(shape, scale_s)
        yield Arrival(to_microseconds(time_s), item)


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """The size of one request of a recorded trace."""

    prompt_tokens: int
    output_tokens: int


def read_trace(path: Path, *, stretch: float = 1.0, limit: int | None = None) -> list[Arrival[TraceRequest]]:
    """Arrivals of a CSV file (``.gz`` too), relative to the first, gaps multiplied by ``stretch``.

    Columns ``arrival_s, prompt_tokens, output_tokens``, or, as in the Azure LLM inference traces,
    ``TIMESTAMP, ContextTokens, GeneratedTokens``. ConfigError names the line that is neither.
    """
    if not stretch > 0.0:
        raise ConfigError(f"stretch must be > 0, got {stretch}")
    parsed: list[tuple[float, TraceRequest]] = []
    for number, row in _rows(path):
        if limit is not None and len(parsed) >= limit:
            break
        try:
            parsed.append(_parse(row))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} line {number} is no request: {error}") from error
    parsed.sort(key=lambda pair: pair[0])
    first_s = parsed[0][0] if parsed else 0.0
    return [Arrival(to_microseconds((at_s - first_s) * stretch), request) for at_s, request in parsed]


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the trace {path}: {error}") from error
    reader = csv.DictReader(io.StringIO(text))
    for row in reader:
        yield reader.line_num, row


def _parse(row: Mapping[str, str]) -> tuple[float, TraceRequest]:
    if "TIMESTAMP" in row:
        at_s = datetime.fromisoformat(row["TIMESTAMP"]).timestamp()
        request = TraceRequest(int(row["ContextTokens"]), int(row["GeneratedTokens"]))
    else:
        at_s = float(row["arrival_s"])
        request = TraceRequest(int(row["prompt_tokens"]), int(row["output_tokens"]))
    if not math.isfinite(at_s) or min(request.prompt_tokens, request.output_tokens) < 0:
        raise ValueError("a number is out of range")
    return at_s, request
