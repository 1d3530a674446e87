"""Simulated runs: timed to the microsecond, alike every time, and with the shapes that were published."""

from __future__ import annotations

import pytest

from paceline.llm.draft.tree import DraftTree
from paceline.llm.load import StepLoad
from paceline.llm.simulate.oracle import Oracle
from paceline.llm.simulate.published import ServedModel, served_model
from paceline.llm.simulate.runs import Throughput, constant_batch, serve
from paceline.llm.simulate.traces import AcceptanceTrace, forced, generate
from paceline.llm.simulate.virtual import Arm, named_policy
from tests.llm.simulate.drafting import Drafting, drafting
from tests.llm.simulate.test_published import EAGLE_ON_H100

H100 = served_model("llama-3.1-8b", "H100")
PLAIN = named_policy("off")
GSM8K = [trace.clipped(60) for trace in generate("gsm8k", 100, seed=1)]


def speed(served: ServedModel, batch: int, make: Arm) -> Throughput:
    return constant_batch(served, GSM8K[: 24 + batch // 2], batch, make, num_warm_up=4 + batch // 8)


@pytest.mark.parametrize("length", [0, 1, 4])
def test_a_request_takes_what_its_steps_take(length: int) -> None:
    values = bytes([1, 3, 2, 1, 6, 5, 4, 3, 2, 1, 2, 1])
    trace = AcceptanceTrace("", 20, len(values), {"heads": values, "lookup": values})
    [life] = serve(H100, [trace], [500], drafting(length) if length else PLAIN).lives
    now = 500 + round(1e6 * H100.step_s(StepLoad(20, 0, 1)))
    assert life.first == now
    position = 1
    while position < len(values):
        depth = min(length, len(values) - position - 1)
        context = trace.num_prompt + position
        drafting_s = H100.draft_s("heads", StepLoad(1, context, 1), length) if depth else 0.0
        now += round(1e6 * (H100.step_s(StepLoad(1 + depth, context - 1, 1), verifies=depth > 0) + drafting_s))
        position += min(values[position], depth + 1)
    assert life.finished == now
    assert life.num_units == position == len(values)


def test_every_request_is_served_in_full_and_alike_every_time() -> None:
    traces = generate("mixed", 12, seed=2)
    arrivals = [20_000 * index for index in range(12)]
    for make in (PLAIN, drafting(3), drafting(8, "lookup"), Oracle):
        runs = [serve(H100, traces, arrivals, make) for _ in range(2)]
        assert runs[0] == runs[1]
        assert runs[0].num_failures == 0
        lives = sorted(runs[0].lives, key=lambda life: life.arrived)
        assert [life.num_units for life in lives] == [trace.num_output for trace in traces]
        assert [life.outcome for life in lives] == ["done"] * 12


def test_a_run_may_be_given_up() -> None:
    traces = [trace.clipped(20 + index) for index, trace in enumerate(GSM8K[:5])]
    done = serve(H100, traces, [0] * 5, PLAIN, give_up=lambda life: life.id == "1")
    assert [life.id for life in done.lives] == ["0", "1"]


def test_requests_that_do_not_fit_fail() -> None:
    served = served_model("llama-2-7b", "A100")
    [life, other] = serve(served, [AcceptanceTrace("", 5000, 9, GSM8K[0].values), GSM8K[0]], [0, 0], PLAIN).lives
    assert (life.outcome, other.outcome) == ("failed", "done")


@pytest.mark.parametrize(("batch", "column"), [(4, 0), (4, 2), (16, 4), (32, 1)])
def test_the_published_table_comes_out_of_a_run(batch: int, column: int) -> None:
    length = (0, 1, 3, 4, 5, 7)[column]
    found = speed(served_model("llama-3.1-8b", "H100-graphs"), batch, drafting(length) if length else PLAIN)
    assert 1000 * found.step_s == pytest.approx(EAGLE_ON_H100[batch][column], rel=0.05)


@pytest.mark.gate
def test_longer_drafts_stop_paying_earlier() -> None:
    served = served_model("llama-3-8b", "A100")

    def gains(batch: int) -> list[bool]:
        plain = speed(served, batch, PLAIN).tokens_per_s
        return [speed(served, batch, drafting(length)).tokens_per_s > plain for length in (1, 3, 5)]

    assert [gains(batch) for batch in (16, 64, 96, 160)] == [
        [True, True, True],
        [True, True, False],
        [True, False, False],
        [False, False, False],
    ]


@pytest.mark.gate
@pytest.mark.parametrize("acceptance", [0.7, 0.9])
def test_lengths_rank_offline_as_published(acceptance: float) -> None:
    """128 requests at once, 1024 tokens in: one draft helps least, more help more, and more so when more are right."""
    traces = forced(acceptance, 128, num_prompt=1024, num_output=32)

    def end(make: Arm) -> int:
        return max(
            life.finished or 0 for life in serve(served_model("llama-2-7b", "H100"), traces, [0] * 128, make).lives
        )

    plain, one, three = end(PLAIN), end(drafting(1)), end(drafting(3))
    assert plain > one > three > end(Oracle)


@pytest.mark.parametrize("factor", [1.0, 1.4, 0.7])
def test_a_wrong_profile_is_corrected(factor: float) -> None:
    found = constant_batch(H100, GSM8K[:30], 8, drafting(3), num_warm_up=15, cost_factor=factor)
    assert found.prediction_error < 0.03


def test_constant_batch_measures_decoding_alone() -> None:
    found = speed(H100, 8, PLAIN)
    assert found.tokens_per_step == found.rows_per_step == 1.0
    assert found.tokens_per_s == pytest.approx(8 / found.step_s, rel=0.02)
    drafted = speed(H100, 8, drafting(3))
    assert 3.5 < drafted.rows_per_step <= 4.0
    assert 2.0 < drafted.tokens_per_step < 2.6
    assert drafted.tokens_per_s == pytest.approx(8 * drafted.tokens_per_step / drafted.step_s, rel=0.02)


def test_faults_of_a_policy_are_counted() -> None:
    class Broken(Drafting):
        def choose(self, *arguments: object) -> dict[int, DraftTree]:
            raise ValueError

    found = constant_batch(H100, GSM8K[:4], 1, lambda setup, foresight: Broken("heads", 2), num_warm_up=1)
    assert found.num_failures > 0
    assert found.tokens_per_step == 1.0
