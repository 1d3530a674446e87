"""Who is served, what was promised, and how each tenant is kept from harming the others. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from paceline.clock import to_microseconds
from paceline.decision import Average
from paceline.errors import ConfigError
from paceline.multiplex.isolation import BackOff, TokenBucket, Unlimited

MAX_ROWS = 1 << 16
SLOW = 2.0  # groups with a straggler take this many times what others do: a shared machine alone brings 1.5
_MAX_STRIKES = 3  # failures in a row after which a model is not run for a while
_MIN_GROUPS = 32  # before the mean over a tenant's groups says anything
_REFORMED = 200  # groups after which a former straggler is as good as any


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSpec:
    """What a tenant is and what it was promised.

    ``segments`` are the keys of its model's segments in order: launches of equal keys may be joined, across tenants and
    depths. ``slo_s``: seconds from arrival within which an answer counts, unless the request says otherwise. ``max_rows``:
    rows a launch may hold of it; larger requests run alone, in chunks. ``weight``: its part of the device when there
    is not enough for all. ``rate``: requests per second it may send in the long run, None for any number.
    ``max_queued``: requests that may wait or run at once. ``stackable``: False for a model whose launches cannot be joined.

    >>> TenantSpec(name="a", family="f", segments=("f/0",), slo_s=0.0)
    Traceback (most recent call last):
        ...
    paceline.errors.ConfigError: tenant 'a': slo_s must be > 0, got 0.0
    """

    name: str
    family: str
    segments: tuple[str, ...]
    slo_s: float
    max_rows: int = 64
    weight: float = 1.0
    rate: float | None = None
    max_queued: int = 64
    stackable: bool = True

    def __post_init__(self) -> None:
        rules = [
            (bool(self.segments), "segments must name at least one"),
            (0.0 < self.slo_s < 1e6, f"slo_s must be > 0, got {self.slo_s}"),
            (1 <= self.max_rows <= MAX_ROWS, f"max_rows must be in 1..{MAX_ROWS}, got {self.max_rows}"),
            (0.0 < self.weight < 1e6, f"weight must be > 0, got {self.weight}"),
            (self.rate is None or 0.0 < self.rate < 1e9, f"rate must be > 0 or None, got {self.rate}"),
            (self.max_queued >= 1, f"max_queued must be >= 1, got {self.max_queued}"),
        ]
        for holds, text in rules:
            if not holds:
                raise ConfigError(f"tenant {self.name!r}: {text}")


@final
class Tenant:
    """A registered tenant and its accounts; plain fields, since the window reads them for every request."""

    __slots__ = (
        "alone", "backlog", "bucket", "company", "max_queued", "max_rows", "name", "num_queued", "quarantine",
        "round", "slo", "slowness", "spec", "used", "weight",
    )  # fmt: skip

    def __init__(self, spec: TenantSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.slo = to_microseconds(spec.slo_s)
        self.weight = spec.weight
        self.max_rows = spec.max_rows
        self.max_queued = spec.max_queued
        self.bucket: TokenBucket | Unlimited = Unlimited() if spec.rate is None else TokenBucket(spec.rate)
        self.num_queued = 0  # requests that wait or run
        self.backlog = 0  # µs of the device that those which wait count for
        self.used = 0.0  # its account in ``Shares``
        self.round = 0
        self.quarantine = BackOff(first_s=1.0, last_s=60.0)  # its model fails
        self.company = BackOff(first_s=1.0, last_s=60.0)  # it slows groups down
        self.slowness = Average(weight=0.1)  # of groups with it: what they took over what was predicted
        self.alone = False  # whether it runs in groups with nobody for now

    def settle(self, now: int) -> None:
        """Decides anew whether it runs alone."""
        self.alone = self.quarantine.strikes > 0 or self.company.until > now

    def failed(self, now: int) -> bool:
        """Its model raised; True if it has done so too often. Until it succeeds it runs alone: nobody is run twice for it."""
        self.alone = True
        trouble = self.quarantine
        trouble.strikes += 1
        if trouble.strikes < _MAX_STRIKES:
            return False
        trouble.begin(now)
        trouble.strikes = _MAX_STRIKES - 1  # after that one failure is too many, and one success clears it
        return True

    def judge(self, usual: float, now: int) -> None:
        """It was in a slow group. If its groups are ``SLOW`` times slower than the ``usual`` ones, it runs alone for a while."""
        if self.slowness.count < _MIN_GROUPS:
            return
        if self.slowness.count >= _REFORMED:
            self.company.clear()
        if self.slowness.mean > SLOW * usual:
            self.company.begin(now)
            self.slowness = Average(weight=0.1)
            self.alone = True
