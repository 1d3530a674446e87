"""Order among what waits, and that nothing gets lost in the heaps."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.multiplex.fairness import Shares
from paceline.multiplex.load import Costs
from paceline.multiplex.ready import Ready
from paceline.multiplex.request import Lane, Line, Request
from paceline.multiplex.tenant import Tenant
from tests.multiplex.windows import spec, warm


class World:
    """One lane of four tenants."""

    def __init__(self) -> None:
        costs = Costs()
        warm(costs, "f")
        self.ready = Ready(Shares())
        self.lane = Lane("f", costs["f"], joint=True)
        self.tenants = [Tenant(spec(f"t{place}")) for place in range(4)]
        self.lines = [Line(tenant, self.lane, place, None) for place, tenant in enumerate(self.tenants)]
        for line in self.lines:
            self.lane.enrol(line)

    def add(self, place: int, deadline: int, priority: int = 0, rows: int = 1) -> Request:
        request = Request(f"t{place}", rows, 0, deadline, priority, num_rows=rows)
        self.ready.add(request, self.lines[place], 0)
        return request

    def check(self) -> None:
        self.ready.check([self.lane])


def test_the_line_that_must_start_first_comes_first() -> None:
    world = World()
    for place, deadline in enumerate((3000, 1000, 4000, 2000)):
        world.add(place, deadline)
    order = []
    while (line := world.lane.pop()) is not None:
        order.append(line.index)
        world.ready.take(line, 1)
    assert order == [1, 3, 0, 2]
    world.check()


def test_of_one_tenant_the_larger_priority_comes_first_then_the_deadline() -> None:
    world = World()
    requests = [world.add(0, 5000), world.add(0, 3000), world.add(0, 9000, priority=1)]
    line = world.lane.pop()
    assert line is not None
    assert world.ready.take(line, 3) == [requests[2], requests[1], requests[0]]


def test_a_priority_puts_no_tenant_before_another() -> None:
    world = World()
    world.add(0, 5000, priority=9)
    world.add(1, 4000)
    head = world.ready.most_urgent()
    assert head is not None
    assert head.line is world.lines[1]


def test_wider_requests_must_start_earlier() -> None:
    world = World()
    assert world.add(0, 5000, rows=16).latest < world.add(1, 5000).latest


def test_what_cannot_be_in_time_is_taken_out_and_nothing_else() -> None:
    world = World()
    late, fine = world.add(0, 1000), world.add(1, 2000)
    assert list(world.ready.late(late.latest)) == []
    assert list(world.ready.late(late.latest + 1)) == [late]
    assert world.ready.num_waiting == 1
    assert fine.ticket
    world.check()


def test_a_lane_with_two_lines_can_be_joined() -> None:
    world = World()
    first = world.add(0, 1000)
    assert world.lane not in world.ready.joint
    world.add(1, 1000)
    assert world.lane in world.ready.joint
    world.ready.remove(first)
    assert world.lane not in world.ready.joint


@settings(max_examples=100)
@given(st.data())
def test_counts_and_order_hold_whatever_happens(data: st.DataObject) -> None:
    world, waiting = World(), set[Request]()
    for _ in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["add", "add", "add", "take", "remove", "late"]))
        if action == "add":
            place, deadline = data.draw(st.integers(0, 3)), data.draw(st.integers(500, 5000))
            waiting.add(world.add(place, deadline, data.draw(st.integers(0, 1))))
        elif action == "take" and (line := world.lane.pop()) is not None:
            assert line.first.rank == min(each.first.rank for each in world.lines if each.waiting)
            waiting -= set(world.ready.take(line, data.draw(st.integers(1, 3))))
        elif action == "remove" and waiting:
            request = data.draw(st.sampled_from(sorted(waiting, key=lambda each: each.ticket)))
            world.ready.remove(request)
            waiting.remove(request)
        elif action == "late":
            now = data.draw(st.integers(0, 4000))
            late = set(world.ready.late(now))
            assert late == {request for request in waiting if request.latest < now}
            waiting -= late
        world.check()
        assert world.ready.num_waiting == len(waiting)
        end = world.ready.first_end()
        assert end == min((request.latest for request in waiting), default=None)


def test_removing_what_does_not_wait_is_our_fault() -> None:
    world = World()
    request = world.add(0, 1000)
    world.ready.remove(request)
    with pytest.raises(StopIteration):
        world.ready.remove(request)


def test_heaps_do_not_grow_with_what_has_passed() -> None:
    world = World()
    for _ in range(5000):
        request = world.add(0, 10**9)
        world.ready.remove(request)
        list(world.ready.late(0))
    assert len(world.ready._urgent) + len(world.ready._ends) + len(world.lane.heads) < 5000
