"""Acceptance traces: read as recorded, made with the published curves."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import ConfigError
from paceline.llm.simulate.traces import (
    EAGLE_1,
    EAGLE_3,
    WORKLOADS,
    AcceptanceTrace,
    forced,
    generate,
    pick,
    read_acceptance,
    under_way,
)

LINE = {"workload": "chat", "prompt_tokens": 3, "output_tokens": 4, "draft_head": [2, 1, 3, 2], "ngram": [1, 1, 30]}


def write(path: Path, *lines: Any) -> Path:
    data = "\n".join(json.dumps(line) for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def survival(traces: list[AcceptanceTrace], proposer: str, depth: int) -> list[float]:
    """Shares of drafts that live to depth 1, 2, … over the starts that drafting ``depth`` tokens visits."""
    hits, starts = [0] * depth, 0
    for trace in traces:
        values, position = trace.values[proposer], 0
        while position < len(values):
            starts += 1
            for reached in range(min(values[position] - 1, depth)):
                hits[reached] += 1
            position += min(values[position], depth + 1)
    return [hit / starts for hit in hits]


@pytest.mark.parametrize("name", ["traces.jsonl", "traces.jsonl.gz"])
def test_a_file_is_read_as_far_as_both_lists_go(tmp_path: Path, name: str) -> None:
    [trace] = read_acceptance(write(tmp_path / name, LINE, {**LINE, "ngram": []}))
    assert (trace.workload, trace.num_prompt, trace.num_output) == ("chat", 3, 3)
    assert list(trace.values["heads"]) == [2, 1, 3]
    assert list(trace.values["lookup"]) == [1, 1, 21]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ngram": [0]}, "line 2 is no acceptance trace: prompt_tokens and all values must be at least 1"),
        ({"prompt_tokens": 0}, "must be at least 1"),
        ({"draft_head": ["a"]}, "line 2 is no acceptance trace"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_acceptance(write(tmp_path / "traces.jsonl", LINE, {**LINE, **wrong}))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no acceptance trace"):
        read_acceptance(write(tmp_path / "empty.jsonl"))
    (tmp_path / "broken.gz").write_bytes(b"not gzip")
    for name in ("absent.jsonl", "broken.gz"):
        with pytest.raises(ConfigError, match="cannot read the acceptance traces"):
            read_acceptance(tmp_path / name)


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("proposer", ["heads", "lookup"])
def test_generated_drafts_fare_as_published(workload: str, proposer: str) -> None:
    traces = generate(workload, 150, seed=3)
    curve = WORKLOADS[workload].curves[proposer]
    measured = survival(traces, proposer, 20 if proposer == "lookup" else 7)
    assert measured[:3] == pytest.approx([curve.at(depth) for depth in (1, 2, 3)], rel=0.25, abs=0.02)
    means = [len(trace.values[proposer]) for trace in traces]
    assert sum(means) / len(means) == pytest.approx(WORKLOADS[workload].num_output, rel=0.2)


def test_every_run_is_counted_down() -> None:
    for trace in generate("mixed", 8, seed=1):
        for values in trace.values.values():
            assert len(values) == trace.num_output
            assert all(after >= value - 1 >= 0 for value, after in pairwise(values))


def test_later_heads_are_better() -> None:
    assert all(new > old for new, old in zip(EAGLE_3.survival, EAGLE_1.survival, strict=True))


def test_forced_acceptance() -> None:
    traces = forced(0.7, 40, num_output=300)
    assert survival(traces, "heads", 3) == pytest.approx([0.7, 0.49, 0.343], abs=0.03)
    assert survival(traces, "lookup", 1) == [0.0]


def test_a_mix_takes_every_workload_in_turn() -> None:
    known = [AcceptanceTrace(workload, n, 4, {}) for workload in "ab" for n in (1, 2)]
    mixed = pick(known, "mixed", 8, seed=5)
    assert [trace.workload for trace in mixed] == ["a", "b"] * 4
    assert sorted(trace.num_prompt for trace in mixed) == [1] * 4 + [2] * 4
    assert pick(known, "mixed", 8, seed=5) == mixed
    assert {trace.workload for trace in pick(known, "b", 5)} == {"b"}
    for wrong in (lambda: pick(known, "c", 1), lambda: generate("c", 1)):
        with pytest.raises(ConfigError, match=r"unknown workload 'c'; known: .*mixed"):
            wrong()


def test_requests_are_cut_and_stretched() -> None:
    trace = AcceptanceTrace("a", 10, 3, {"heads": bytes([3, 2, 1])})
    assert trace.clipped(5) is trace
    assert trace.clipped(2).values["heads"] == bytes([3, 2])
    assert trace.resized(7, 4) == AcceptanceTrace("a", 7, 4, {"heads": bytes([3, 2, 1, 3])})
    assert trace.after(1) == AcceptanceTrace("a", 11, 2, {"heads": bytes([2, 1])})


def test_what_is_under_way_is_long_and_half_done() -> None:
    traces = [AcceptanceTrace("", 10, length, {"heads": bytes([1] * length)}) for length in (100, 900)]
    found = under_way(traces, 400)
    long = [trace for trace in found if trace.num_prompt + trace.num_output > 110]
    assert len(long) / len(found) == pytest.approx(0.9, abs=0.05)
    assert sum(trace.num_output for trace in long) / len(long) == pytest.approx(450, rel=0.1)
    assert all(trace.num_output == len(trace.values["heads"]) > 0 for trace in found)
