"""What a tenant may be, and when it has to run alone."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.errors import ConfigError
from paceline.multiplex.tenant import Tenant, TenantSpec


def spec(**fields: Any) -> TenantSpec:
    return TenantSpec(**{"name": "a", "family": "f", "segments": ("f/0",), "slo_s": 0.05, **fields})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("segments", ()),
        ("slo_s", 0.0),
        ("slo_s", float("nan")),
        ("slo_s", float("inf")),
        ("max_rows", 0),
        ("max_rows", 1 << 20),
        ("weight", 0.0),
        ("weight", float("nan")),
        ("rate", 0.0),
        ("rate", -1.0),
        ("max_queued", 0),
    ],
)
def test_a_wrong_field_is_named_with_its_tenant(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"'a': {field}"):
        spec(**{field: value})


def test_times_are_microseconds_inside() -> None:
    assert Tenant(spec(slo_s=0.025)).slo == 25_000


def test_a_model_that_failed_runs_alone_until_it_succeeds() -> None:
    tenant = Tenant(spec())
    assert not tenant.failed(0)
    assert tenant.alone
    tenant.quarantine.clear()
    tenant.settle(0)
    assert not tenant.alone


def test_three_failures_in_a_row_are_too_many_and_after_the_quarantine_one_is() -> None:
    tenant = Tenant(spec())
    assert [tenant.failed(0), tenant.failed(0), tenant.failed(0)] == [False, False, True]
    assert tenant.quarantine.left_s(0) == 1.0
    assert tenant.failed(1_000_000)
    assert tenant.quarantine.left_s(1_000_000) == 2.0


def test_whoever_slows_groups_down_runs_alone_for_a_while() -> None:
    tenant = Tenant(spec())
    for _ in range(31):
        tenant.slowness.observe(2.6)
    tenant.judge(1.0, 0)
    assert not tenant.alone, "too few groups to tell"
    tenant.slowness.observe(2.6)
    tenant.judge(1.0, 0)
    assert tenant.alone
    tenant.settle(999_999)
    assert tenant.alone
    tenant.settle(1_000_000)
    assert not tenant.alone


def test_slow_groups_are_nobodys_fault_when_all_groups_are_slow() -> None:
    tenant = Tenant(spec())
    for _ in range(50):
        tenant.slowness.observe(2.6)
    tenant.judge(1.5, 0)
    assert not tenant.alone
