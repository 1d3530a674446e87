"""The trace: bounded, valid for Perfetto, arrows at both ends in the right lanes."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from paceline.multiplex.request import BundleResult, Request
from paceline.multiplex.simulate import LaunchTime, calls, serve, window
from paceline.multiplex.trace import LaunchRecord, RequestRecord, Timeline, chrome_json, first_fit
from tests.multiplex.windows import many, plan, submit
from tests.multiplex.windows import window as known_window

TIMES = {"f": LaunchTime(200e-6, 10e-6, 2e-6), "g": LaunchTime(300e-6, 10e-6, 2e-6)}


def simulated() -> Timeline:
    specs = [*many(4, slo_s=0.002), *many(3, "g", slo_s=0.002)]
    return serve(window(specs, TIMES), specs, calls(specs, 8000.0, 200), TIMES).timeline


def events(timeline: Timeline) -> list[dict[str, Any]]:
    trace = json.loads(chrome_json(timeline))
    assert set(trace) == {"traceEvents", "displayTimeUnit"}
    return list(trace["traceEvents"])


def test_every_launch_and_every_request_is_a_slice() -> None:
    timeline = simulated()
    slices = Counter(event["cat"] for event in events(timeline) if event["ph"] == "X")
    assert slices == {"launch": len(timeline.launches), "request": len(timeline.requests)}


def test_slices_of_one_lane_do_not_overlap() -> None:
    lanes: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in events(simulated()):
        if event["ph"] == "X":
            assert event["dur"] >= 0
            lanes.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for spans in lanes.values():
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_every_lane_has_a_name() -> None:
    named = {(event["pid"], event["tid"]) for event in events(simulated()) if event["name"] == "thread_name"}
    used = {(event["pid"], event["tid"]) for event in events(simulated()) if event["ph"] == "X"}
    assert used == named


def test_arrows_lead_from_requests_to_the_launches_they_were_in() -> None:
    timeline = simulated()
    found = events(timeline)
    slices = [event for event in found if event["ph"] == "X"]
    starts = {event["id"]: event for event in found if event["ph"] == "s"}
    ends = {event["id"]: event for event in found if event["ph"] == "f"}
    assert len(starts) == sum(len(launch.members) for launch in timeline.launches)
    assert starts.keys() == ends.keys()
    for number, start in starts.items():
        for arrow, category in ((start, "request"), (ends[number], "launch")):
            assert any(
                each["cat"] == category
                and (each["pid"], each["tid"]) == (arrow["pid"], arrow["tid"])
                and each["ts"] <= arrow["ts"] <= each["ts"] + each["dur"]
                for each in slices
            )


def test_counters_end_at_nothing() -> None:
    found = [event for event in events(simulated()) if event["ph"] == "C"]
    last = {event["name"]: event["args"]["count"] for event in sorted(found, key=lambda event: event["ts"])}
    assert set(last) == {"slots of worker 0", "waiting"}
    assert last["waiting"] == 0
    assert min(event["args"]["count"] for event in found) >= 0


def test_the_ring_is_bounded_and_arrows_of_what_fell_out_are_left_out() -> None:
    timeline = Timeline(capacity=3)
    for number in range(10):
        timeline.requests.append(RequestRecord(str(number), "a", number, 100, number, number + 1, "done"))
        timeline.launches.append(LaunchRecord(number, number + 1, 0, "f", "f", 1, 1, (str(number), "gone")))
    found = events(timeline)
    assert sum(event["ph"] == "X" for event in found) == 6
    assert sum(event["ph"] == "s" for event in found) == 3


def test_an_empty_trace_is_a_trace() -> None:
    assert [event["ph"] for event in events(Timeline())] == ["M", "M"]


def test_records_come_from_plans_and_requests() -> None:
    busy, timeline = known_window(*many(2)), Timeline()
    submit(busy, "f0", rows=3, id="x")
    submit(busy, "f1", id="y")
    launch = plan(busy)
    busy.commit(launch, BundleResult(250e-6), 250)
    timeline.launched(launch, "mlp", 250, lane=1)
    for request in launch.members:
        timeline.ended(request, 250)
    assert list(timeline.launches) == [LaunchRecord(0, 250, 1, "mlp", "f", 2, 4, ("x", "y"), "only")]
    assert [(record.id, record.in_time) for record in timeline.requests] == [("x", True), ("y", True)]


def test_a_request_that_was_turned_away_has_a_record() -> None:
    timeline = Timeline()
    timeline.ended(Request("a", 1, reason="QueueFull"), 7)
    assert list(timeline.requests) == [RequestRecord("", "a", 7, 7, None, 7, "failed", "QueueFull")]


@pytest.mark.parametrize(
    ("finished", "outcome", "in_time"),
    [(10, "done", True), (11, "done", False), (9, "late", False), (9, "failed", False)],
)
def test_in_time_means_done_by_the_deadline(finished: int, outcome: Any, in_time: bool) -> None:
    assert RequestRecord("a", "a", 0, 10, 1, finished, outcome).in_time is in_time


def test_lanes_are_reused_as_soon_as_they_are_free() -> None:
    assert list(first_fit([(0, 4), (1, 3), (3, 5), (4, 6), (4, 5)])) == [0, 1, 1, 0, 2]
