"""Speculative decoding as clients and operators see it: usage, opting out, the debug page and the metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from paceline.llm.messages import Decision, SpeculationReport, SpeculationStats
from tests.server.fakes import NAME, FakeEngine, Running, running
from tests.server.test_bad_input import assert_error
from tests.server.test_completions import events

STATS = SpeculationStats(
    policy="auto", num_steps=50, num_plain_steps=20, num_drafts=30, num_draft_tokens=90, num_accepted_tokens=41,
    accepted_by_depth=(25, 12, 4), nodes_per_draft=(10, 5, 0, 15), num_caught_up_tokens=7, draft_time_s=0.125,
    num_failures={"lookup": 2, 'mine"\n': 1}, predicted_time_s=1.5, actual_time_s=1.25, prediction_error=0.05,
    survival={"lookup": (0.75, 0.5), "model": (0.625,)}, numbers={"goodput": 812.5, "ledger_s": float("nan")},
)  # fmt: skip
DECISION = Decision(
    at_s=12.5, option="lookup 4: 4 nodes", reason="goodput 812 beats 640 without drafts", predicted_s=0.5,
    actual_s=0.25, num_sequences=1, num_nodes=4,
)  # fmt: skip
CHAT = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def drafting() -> Iterator[Running]:
    """Every sample had 6 drafted tokens verified and 4 accepted."""
    engine = FakeEngine()
    engine.report = SpeculationReport(stats=STATS, decisions=(DECISION,))
    engine.last_delta = {"num_drafted": 6, "num_accepted": 4}
    with running(engine) as server:
        yield server


@pytest.fixture
def client(drafting: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{drafting.url}/v1", api_key="unused", max_retries=0)


@pytest.mark.parametrize("n", [1, 3])
def test_the_usage_of_a_completion_counts_the_drafts_of_all_samples(client: openai.OpenAI, n: int) -> None:
    usage = client.completions.create(model=NAME, prompt="hello", max_tokens=5, n=n).usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    details = usage.completion_tokens_details
    assert (details.accepted_prediction_tokens, details.rejected_prediction_tokens) == (4 * n, 2 * n)
    assert usage.completion_tokens == 5 * n


def test_so_does_the_usage_of_a_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": "hi"}], max_tokens=5, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    *_, last = stream
    assert last.usage is not None
    assert last.usage.completion_tokens_details is not None
    assert last.usage.completion_tokens_details.accepted_prediction_tokens == 4
    assert last.usage.completion_tokens_details.rejected_prediction_tokens == 2


def test_without_drafts_both_are_zero(shared: Running) -> None:
    none = {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    body = {"prompt": "x", "max_tokens": 2}
    assert shared.post("/v1/completions", body).json()["usage"]["completion_tokens_details"] == none
    *_, last = events(shared, prompt="x", stream_options={"include_usage": True})
    assert last["usage"]["completion_tokens_details"] == none


@pytest.mark.parametrize(("path", "body"), [("/v1/completions", {"prompt": "x"}), ("/v1/chat/completions", CHAT)])
@pytest.mark.parametrize(("sent", "wanted"), [({}, True), ({"speculation": None}, True), ({"speculation": True}, True), ({"speculation": False}, False)])  # fmt: skip
def test_a_request_can_opt_out(
    shared: Running, path: str, body: dict[str, Any], sent: dict[str, Any], wanted: bool
) -> None:
    assert shared.post(path, {**body, **sent, "max_tokens": 1}).status_code == 200
    assert shared.engine.requests[-1].params.speculation is wanted


def test_the_openai_client_can_opt_out(drafting: Running, client: openai.OpenAI) -> None:
    client.completions.create(model=NAME, prompt="x", extra_body={"speculation": False})
    assert drafting.engine.requests[-1].params.speculation is False


def test_the_debug_page_tells_counters_and_reasons(drafting: Running) -> None:
    page = drafting.get("/debug/speculation").json()
    assert (page["policy"], page["num_drafts"], page["num_plain_steps"]) == ("auto", 30, 20)
    assert page["survival"] == {"lookup": [0.75, 0.5], "model": [0.625]}
    assert page["numbers"] == {"goodput": 812.5, "ledger_s": None}
    [decision] = page["decisions"]
    assert decision["reason"] == "goodput 812 beats 640 without drafts"
    assert decision["option"] == "lookup 4: 4 nodes"


def test_the_debug_page_says_that_it_is_off(shared: Running) -> None:
    assert shared.get("/debug/speculation").json() == {"policy": "off"}
    assert "spec" not in shared.get("/metrics").text


def test_the_debug_page_needs_an_engine(server: Running) -> None:
    server.engine.state = "restarting"
    assert_error(server.get("/debug/speculation"), 503)


def series(text: str) -> dict[str, float]:
    """The numbers about drafts by name and labels, without the model's."""
    lines = re.findall(r"^paceline:(spec\w+)\{(.*)\} (\S+)$", text, re.MULTILINE)
    return {
        name + "".join(f" {label}" for label in labels.split(",") if "model_name" not in label): float(number)
        for name, labels, number in lines
    }


EXPECTED = {
    "spec_decode_num_drafts_total": 30, "spec_decode_num_draft_tokens_total": 90,
    "spec_decode_num_accepted_tokens_total": 41, 'spec_decode_num_accepted_tokens_per_pos_total position="0"': 25,
    'spec_decode_num_accepted_tokens_per_pos_total position="2"': 4, "speculation_steps_total": 50,
    "speculation_plain_steps_total": 20, "speculation_caught_up_tokens_total": 7,
    "speculation_draft_seconds_total": 0.125, "speculation_predicted_step_seconds_total": 1.5,
    "speculation_actual_step_seconds_total": 1.25, "speculation_prediction_error": 0.05,
    'speculation_failures_total proposer="lookup"': 2, 'speculation_failures_total proposer="mine\\"\\n"': 1,
    'speculation_nodes_bucket le="1.0"': 10, 'speculation_nodes_bucket le="2.0"': 15,
    'speculation_nodes_bucket le="4.0"': 30, 'speculation_nodes_bucket le="+Inf"': 30, "speculation_nodes_count": 30,
    "speculation_nodes_sum": 90, 'speculation_survival position="1" proposer="lookup"': 0.5,
    'speculation_policy name="goodput" policy="auto"': 812.5,
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_a_metric_has_its_value(drafting: Running, name: str) -> None:
    found = {" ".join(sorted(key.split(" "))): value for key, value in series(drafting.get("/metrics").text).items()}
    assert found[" ".join(sorted(name.split(" ")))] == EXPECTED[name]


def test_every_metric_is_documented(drafting: Running) -> None:
    document = Path("docs/server.md").read_text()
    for name in {key.split(" ")[0] for key in series(drafting.get("/metrics").text)}:
        assert name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") in document, name


def test_the_root_shows_the_way(shared: Running) -> None:
    about = shared.get("/").json()
    assert (about["name"], about["model"]) == ("paceline", NAME)
    assert {"GET /", "GET /v1/models/{name}", "POST /v1/completions", "GET /metrics"} <= set(about["endpoints"])
