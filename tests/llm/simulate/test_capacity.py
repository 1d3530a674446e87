"""Capacity: the highest rate that keeps the limits, found by serving."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from paceline.errors import ConfigError
from paceline.llm.simulate.capacity import (
    Setting,
    at_rate,
    capacity,
    estimate,
    make_setting,
    random_arrivals,
    recorded_arrivals,
)
from paceline.llm.simulate.oracle import Oracle
from paceline.llm.simulate.published import served_model
from paceline.llm.simulate.traces import generate
from paceline.llm.simulate.virtual import SIMULATED, named_policy
from paceline.metrics import Slo

H100 = served_model("llama-3.1-8b", "H100")
PLAIN = named_policy("off")
TRACES = [trace.clipped(40) for trace in generate("gsm8k", 90, seed=1)]
SETTING = Setting(H100, TRACES, random_arrivals(len(TRACES)))


def test_the_rate_found_holds_and_a_higher_one_does_not() -> None:
    slo = Slo(ttft_s=0.5, tpot_s=0.008)
    found = capacity(SETTING, slo, PLAIN, share=0.9)
    assert found is not None
    assert found.attainment >= 0.9
    assert at_rate(SETTING, found.rate, slo, PLAIN) == found
    assert at_rate(SETTING, 1.1 * found.rate, slo, PLAIN).attainment < 0.9
    again = capacity(SETTING, slo, PLAIN, share=0.9, guess=3.0 * found.rate)
    assert again is not None
    assert again.rate == pytest.approx(found.rate, rel=0.06)
    assert at_rate(SETTING, 1.1 * found.rate, slo, Oracle).attainment == 1.0


def test_a_rate_that_no_run_is_long_enough_for_is_not_looked_for() -> None:
    slo = Slo(ttft_s=5.0, tpot_s=1.0)
    found = capacity(SETTING, slo, PLAIN)
    assert found is not None
    assert 8.0 <= found.rate / estimate(H100, TRACES, slo, SIMULATED).rate < 10.0


def test_a_short_run_tells_what_a_long_one_tells() -> None:
    """At the start as much is under way as in the end."""
    traces = generate("sharegpt", 360, seed=1)
    slo = Slo(tpot_s=1.0)
    short, long = (
        at_rate(Setting(H100, traces[:count], random_arrivals(count)), 7.0, slo, PLAIN) for count in (60, 360)
    )
    assert short.tpot_p50_s == pytest.approx(long.tpot_p50_s, rel=0.06)
    assert long.tpot_p50_s > 0.0085  # alone, a request takes 0.0072


def test_limits_that_nothing_keeps() -> None:
    assert capacity(SETTING, Slo(tpot_s=0.001), PLAIN) is None


def test_no_limit_on_a_token_is_limited_by_the_batch() -> None:
    free, tied = (estimate(H100, TRACES, slo, SIMULATED) for slo in (Slo(ttft_s=1.0), Slo(tpot_s=0.01)))
    assert 200 <= free.num_seqs <= 256
    assert free.tpot_s > 0.01 >= tied.tpot_s
    assert free.rate > tied.rate > 0.0


def test_figures_at_a_low_rate_are_those_of_a_request_alone() -> None:
    figures = at_rate(SETTING, 0.5, Slo(ttft_s=1.0, tpot_s=1.0), PLAIN)
    assert figures.attainment == 1.0
    assert figures.tpot_p50_s == pytest.approx(0.00712, rel=0.02)
    assert figures.ttft_p50_s < 0.03
    assert figures.latency_mean_s < figures.latency_p99_s
    assert 0.0 < figures.busy < 0.5


def test_random_arrivals_keep_their_pattern() -> None:
    arrivals = random_arrivals(50, variation=3.0, seed=2)
    assert [round(at / 1000) for at in arrivals(1.0)] == pytest.approx([round(at / 500) for at in arrivals(2.0)], abs=1)
    assert recorded_arrivals([7, 7])(2.0) == [0, 0]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("arrival_s,prompt_tokens,output_tokens", *lines)) + "\n")
    return path


def test_a_setting_from_recorded_arrivals(tmp_path: Path) -> None:
    path = write(tmp_path / "trace.csv", "0,10,20", "1,5000,9", "3,30,0", "4,40,50")
    setting = make_setting(served_model("llama-2-7b", "A100"), "mixed", Slo(tpot_s=0.1), count=4, arrivals=path)
    assert [(trace.num_prompt, trace.num_output) for trace in setting.traces] == [(10, 20), (30, 1), (40, 50)]
    assert setting.num_left_out == 1
    assert setting.arrivals(2.0) == [0, 750_000, 1_000_000]


def test_a_setting_has_as_many_requests_as_a_steady_load_takes() -> None:
    slow, quick = (make_setting(H100, "gsm8k", Slo(tpot_s=tpot_s)) for tpot_s in (0.0075, 0.015))
    assert 300 == len(slow.traces) < len(quick.traces) <= 600
    assert len(slow.arrivals(1.0)) == len(slow.traces)


def test_wrong_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be >= 1, got 0"):
        make_setting(H100, "mixed", Slo(), count=0)
    with pytest.raises(ConfigError, match="none of 1 requests fits into the 4096 tokens of llama-2-7b"):
        make_setting(
            served_model("llama-2-7b", "A100"), "mixed", Slo(), count=2, arrivals=write(tmp_path / "t.csv", "0,9000,1")
        )


def test_nothing_to_show_is_no_number() -> None:
    one = Setting(H100, [TRACES[0].clipped(1)], random_arrivals(1))
    assert math.isnan(at_rate(one, 1.0, Slo(), PLAIN).tpot_p99_s)
