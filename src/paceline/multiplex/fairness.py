"""Device time by weight. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from paceline.multiplex.tenant import Tenant


@final
class Shares:
    """How far each tenant is ahead of the device time that its weight earns it.

    Virtual time runs at one over the weight of all tenants that have work; a tenant's account runs at what it used over its
    own weight. What an account is ahead of virtual time, times all that weight, is how long the tenant would have to stand
    back to be even. Nobody saves up while away, and a device that falls idle forgives: nobody was harmed then.
    """

    def __init__(self) -> None:
        self._virtual = 0.0
        self._round = 1
        self._num_active = 0
        self.weight = 0.0  # of the tenants that have work

    def enter(self, tenant: Tenant) -> None:
        """A tenant that had no work has some."""
        self._num_active += 1
        self.weight += tenant.weight
        if tenant.round != self._round:
            tenant.round = self._round
            tenant.used = self._virtual
        elif tenant.used < self._virtual:
            tenant.used = self._virtual

    def leave(self, tenant: Tenant) -> None:
        """A tenant has no more work."""
        self._num_active -= 1
        self.weight -= tenant.weight
        if not self._num_active:
            self.weight = 0.0  # what rounding has left
            self._round += 1

    def advance(self, microseconds: float) -> None:
        """The device worked for ``microseconds``, for whom ``charge`` tells."""
        if self.weight > 0.0:
            self._virtual += microseconds / self.weight

    def charge(self, tenant: Tenant, microseconds: float) -> None:
        """A launch spent ``microseconds`` on ``tenant``."""
        tenant.used += microseconds / tenant.weight

    def lead(self, tenant: Tenant) -> int:
        """Microseconds for which a tenant should stand back. One SLO ahead of its share is free: loads go up and down."""
        ahead = (tenant.used - self._virtual) * self.weight - tenant.slo
        return int(ahead) if ahead > 0.0 else 0

    def pace(self, tenant: Tenant) -> float:
        """Microseconds per microsecond of own work, if all others who have work take what is theirs."""
        return max(1.0, self.weight / tenant.weight)

    def check(self, tenants: Iterable[Tenant]) -> None:
        """The weight must be that of the ``tenants`` who have work; those who were let go with work that runs come on top."""
        weight = sum(tenant.weight for tenant in tenants if tenant.num_queued)
        assert weight <= self.weight * (1.0 + 1e-9) + 1e-9
        assert self._num_active or self.weight == 0.0
