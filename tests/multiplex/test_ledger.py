"""What people are told has happened."""

from __future__ import annotations

from typing import Any

from paceline.multiplex import ledger
from paceline.multiplex.ledger import Ledger
from paceline.multiplex.request import Plan, Request


def request(name: str, rows: int = 1, **fields: Any) -> Request:
    return Request(name, rows, 0, 100, id=f"{name}{rows}", num_rows=rows, **fields)


def plan(*requests: Request, predicted_s: float = 0.0) -> Plan:
    return Plan("f/0", requests, len(requests), max(each.rows for each in requests), predicted_s, "only", 10)


def test_a_launch_is_counted_and_its_time_shared_by_rows() -> None:
    books = Ledger()
    books.enrol("a")
    books.enrol("b")
    books.launched(plan(request("a", 1), request("b", 3), predicted_s=20e-6), "f", 10, 50)
    stats = books.stats(7, [])
    assert (stats.num_waiting, stats.num_launches, stats.num_rows, stats.num_padded_rows) == (7, 1, 4, 2)
    assert stats.members_per_launch == (0, 1)
    assert stats.prediction_error == 0.5
    assert [stats.tenants[name].device_time_s for name in "ab"] == [10e-6, 30e-6]


def test_ends_are_counted_by_kind() -> None:
    books = Ledger()
    books.enrol("a")
    for outcome, finished in (("done", 90), ("done", 110), ("late", 120), ("failed", 50), ("aborted", 50)):
        books.ended(request("a", outcome=outcome, finished=finished), together=finished == 90)
    found = books.stats(0, []).tenants["a"]
    assert (found.num_done, found.num_late, found.num_failed, found.num_coalesced) == (2, 2, 1, 1)


def test_those_who_left_are_counted_no_more() -> None:
    books = Ledger()
    books.enrol("a")
    books.dismiss("a")
    books.dismiss("a")
    books.ended(request("a", outcome="done", finished=1))
    assert books.stats(0, []).tenants == {}


def test_the_timeline_holds_launches_ends_and_refusals() -> None:
    books = Ledger()
    asked = request("a", started=10)
    books.launched(plan(asked), "family", 10, 50)
    asked.outcome, asked.finished = "done", 50
    books.ended(asked)
    books.refused(request("b", reason="the queue is full"))
    timeline = books.timeline()
    assert [(launch.at, launch.until, launch.family, launch.members) for launch in timeline.launches] == [
        (10, 50, "family", ("a1",))
    ]
    assert [(each.tenant, each.outcome, each.reason) for each in timeline.requests] == [
        ("a", "done", ""),
        ("b", "failed", "the queue is full"),
    ]


def test_only_the_newest_are_kept() -> None:
    books = Ledger()
    for _ in range(ledger._KEPT + 5):
        books.refused(request("a"))
    assert len(books.timeline().requests) == ledger._KEPT
