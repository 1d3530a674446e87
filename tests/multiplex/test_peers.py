"""What others do, small enough to be checked by hand."""

from __future__ import annotations

import pytest

from paceline.multiplex.peers import OneByOne, PerTenant, threads
from paceline.multiplex.simulate import Call, LaunchTime, Times, serve
from paceline.sim import Arrival
from tests.multiplex.windows import many, spec

MILLI: Times = {"f": LaunchTime(0.001), "g": LaunchTime(0.002)}


def at(*calls: tuple[int, str]) -> list[Arrival[Call]]:
    return [Arrival(when, Call(tenant)) for when, tenant in calls]


def test_one_by_one_serves_in_order_of_arrival() -> None:
    specs = many(3)
    served = serve(OneByOne(specs), specs, at((0, "f2"), (1, "f0"), (2, "f1")), MILLI)
    assert [(record.tenant, record.finished) for record in served.timeline.requests] == [
        ("f2", 1000),
        ("f0", 2000),
        ("f1", 3000),
    ]


def test_one_by_one_finishes_what_it_has_begun() -> None:
    specs = [spec(name, segments=("f", "g")) for name in "ab"]
    served = serve(OneByOne(specs), specs, at((0, "a"), (1, "b")), MILLI)
    assert [launch.segment for launch in served.timeline.launches] == ["f", "g", "f", "g"]


def test_batching_takes_all_that_waits_of_the_tenant_that_has_waited_longest() -> None:
    specs = many(2)
    served = serve(PerTenant(specs), specs, at((0, "f0"), (1, "f1"), (2, "f0"), (3, "f1"), (4, "f1")), MILLI)
    assert [launch.members for launch in served.timeline.launches] == [("0",), ("1", "3", "4"), ("2",)]


def test_a_batch_is_no_larger_than_the_tenant_allows() -> None:
    specs = many(1, max_rows=2)
    served = serve(PerTenant(specs), specs, at(*[(0, "f0")] * 5), MILLI)
    assert [len(launch.members) for launch in served.timeline.launches] == [2, 2, 1]


def test_threads_share_the_device_evenly() -> None:
    served = threads([*many(1), *many(1, "g")], at((0, "f0"), (0, "g0")), MILLI)
    assert [(record.tenant, record.finished) for record in served.timeline.requests] == [("f0", 2000), ("g0", 3000)]


def test_threads_on_as_many_cores_do_not_wait_for_each_other() -> None:
    served = threads(many(2), at((0, "f0"), (500, "f1")), MILLI, num_cores=2)
    assert [record.finished for record in served.timeline.requests] == [1000, 1500]


def test_a_thread_that_comes_later_slows_down_who_runs() -> None:
    served = threads(many(2), at((0, "f0"), (500, "f1")), MILLI)
    assert [record.finished for record in served.timeline.requests] == [1500, 2000]


@pytest.mark.parametrize("gap", [0, 700, 5000])
def test_threads_lose_no_work(gap: int) -> None:
    served = threads(many(4), at(*[(gap * number, f"f{number}") for number in range(4)]), MILLI)
    assert max(record.finished for record in served.timeline.requests) == max(4000, 3 * gap + 1000)
