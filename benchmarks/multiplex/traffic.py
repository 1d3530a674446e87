"""Arrivals: the same for every arm, drawn from a seed."""

from __future__ import annotations

from heapq import merge
from itertools import repeat
from typing import Final, NamedTuple

from paceline.clock import to_seconds
from paceline.sim import bursts

NOISY: Final = 0  # the tenant that misbehaves in the mix ``noisy``
_NOISE: Final = 10.0  # times as many requests as another tenant
LARGE_ROWS: Final = 10
_LARGE_EVERY: Final = 10  # of its requests has that many rows
_BURSTY: Final = 4.0  # standard deviation of gaps over their mean


class Call(NamedTuple):
    """One request; times in seconds from the start. ``noise``: from the noisy neighbour, whose answers do not count."""

    at_s: float
    tenant: int
    rows: int = 1
    noise: bool = False


def calls(mix: str, rate: float, seconds: float, num_tenants: int, *, seed: int = 0) -> list[Call]:
    """What arrives in so many seconds, at ``rate`` requests per second together.

    ``poisson``: all tenants send equally much, at random. ``bursty``: each sends in bursts. ``zipf``: at random, the k-th
    tenant 1/k as much as the first. ``noisy``: as ``poisson``, and one more sends ten times as much as each of the others, every tenth
    time ten rows, with NaN in all of them; ``rate`` is that of the others.
    """
    parts = [1.0 / (place + 1) if mix == "zipf" else 1.0 for place in range(num_tenants)]
    if mix == "noisy":
        parts[NOISY] = 0.0
    streams = [
        _stream(place, rate * part / sum(parts), seconds, seed, spread=_BURSTY if mix == "bursty" else 1.0)
        for place, part in enumerate(parts)
        if part
    ]
    if mix == "noisy":
        noise = _stream(NOISY, _NOISE * rate / (num_tenants - 1), seconds, seed)
        streams.append([_as_noise(call, number) for number, call in enumerate(noise)])
    return list(merge(*streams))


def _stream(tenant: int, rate: float, seconds: float, seed: int, *, spread: float = 1.0) -> list[Call]:
    found = []
    for arrival in bursts(rate, spread, repeat(None), seed=7919 * seed + tenant):
        at_s = to_seconds(arrival.at)
        if at_s >= seconds:
            break
        found.append(Call(at_s, tenant))
    return found


def _as_noise(call: Call, number: int) -> Call:
    return call._replace(rows=LARGE_ROWS if number % _LARGE_EVERY == 0 else 1, noise=True)
