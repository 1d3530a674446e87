"""Arrival processes have the rate and the burstiness that were asked for; traces are read as written."""

from __future__ import annotations

import gzip
from pathlib import Path
from statistics import mean, pstdev

import pytest

from paceline.errors import ConfigError
from paceline.sim import TraceRequest, bursts, every, poisson, read_trace


def gaps(times: list[int]) -> list[int]:
    return [later - earlier for earlier, later in zip([0, *times], times, strict=False)]


@pytest.mark.parametrize("variation", [0.5, 1.0, 3.0])
def test_bursts_have_the_rate_and_the_variation(variation: float) -> None:
    arrivals = list(bursts(50.0, variation, range(20_000), seed=1))
    between = gaps([arrival.at for arrival in arrivals])
    assert mean(between) == pytest.approx(20_000, rel=0.08)
    assert pstdev(between) / mean(between) == pytest.approx(variation, rel=0.08)
    assert [arrival.item for arrival in arrivals] == list(range(20_000))
    assert min(between) >= 0


def test_a_seed_is_a_day() -> None:
    assert list(poisson(10.0, "abcdef", seed=5)) == list(poisson(10.0, "abcdef", seed=5))
    assert list(poisson(10.0, "abcdef", seed=5)) != list(poisson(10.0, "abcdef", seed=6))


@pytest.mark.parametrize(
    "make",
    [lambda: every(-1.0, ""), lambda: poisson(0.0, ""), lambda: bursts(1.0, 0.0, "")],
    ids=["every", "rate", "v"],
)
def test_options_are_checked_at_once(make: object) -> None:
    with pytest.raises(ConfigError):
        make()  # type: ignore[operator]


PLAIN = "arrival_s,prompt_tokens,output_tokens\n5.0,4808,10\n5.052,3180,8\n5.5,1,1\n"
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,374,44\n2023-11-16 18:17:04.0319600,396,109\n"
)


@pytest.mark.parametrize("zipped", [False, True])
def test_plain_traces(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / ("trace.csv.gz" if zipped else "trace.csv")
    path.write_bytes(gzip.compress(PLAIN.encode()) if zipped else PLAIN.encode())
    arrivals = read_trace(path)
    assert [arrival.at for arrival in arrivals] == [0, 52_000, 500_000]
    assert arrivals[0].item == TraceRequest(prompt_tokens=4808, output_tokens=10)
    assert [arrival.at for arrival in read_trace(path, stretch=0.5, limit=2)] == [0, 26_000]


def test_azure_traces(tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    path.write_text(AZURE)
    assert [(arrival.at, arrival.item.output_tokens) for arrival in read_trace(path)] == [(0, 44), (52_000, 109)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAIN + "x,1,2\n", "line 5 is no request"),
        (PLAIN + "nan,1,2\n", "line 5 is no request"),
        (PLAIN + "1.0,-1,2\n", "line 5 is no request"),
        (PLAIN + "1.0\n", "line 5 is no request"),
        ("a,b\n1,2\n", "line 2 is no request"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_trace(path)


def test_a_broken_file_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    for data in (b"not gzip", gzip.compress(PLAIN.encode())[:-9]):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match="cannot read the trace"):
            read_trace(path)
    with pytest.raises(ConfigError, match="cannot read the trace"):
        read_trace(tmp_path / "absent.csv")
    with pytest.raises(ConfigError, match="stretch"):
        read_trace(path, stretch=0.0)
