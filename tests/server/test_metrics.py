"""Metrics equal what clients saw, under the names that dashboards know."""

from __future__ import annotations

import re

import pytest

from tests.server.fakes import NAME, Running, running

SERIES = [
    "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "prefix_cache_queries_total",
    "prefix_cache_hits_total", "prompt_tokens_total", "generation_tokens_total", "request_success_total",
    "time_to_first_token_seconds_bucket", "inter_token_latency_seconds_bucket", "e2e_request_latency_seconds_bucket",
    "request_time_per_output_token_seconds_bucket", "num_preemptions_total", "iteration_tokens_total", "rejected_total",
    "aborted_total", "leaked_blocks", "engine_restarts_total", "nan_logits_total",
]  # fmt: skip


def value(text: str, name: str, labels: str = "") -> float:
    found = re.search(rf'^{re.escape(name)}{{{re.escape(labels)}model_name="{NAME}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_counters_equal_what_clients_were_told(server: Running) -> None:
    usages = [
        server.post("/v1/completions", {"prompt": "x" * k, "max_tokens": k, "n": 2}).json()["usage"] for k in (1, 5, 9)
    ]
    server.post("/v1/completions", {"prompt": "", "max_tokens": 1})
    text = server.get("/metrics").text
    assert value(text, "paceline:prompt_tokens_total") == sum(usage["prompt_tokens"] for usage in usages)
    assert value(text, "paceline:generation_tokens_total") == sum(usage["completion_tokens"] for usage in usages)
    assert value(text, "paceline:request_success_total", 'finished_reason="length",') == 6
    assert 'reason="empty_prompt"} 1.0' in text
    assert value(text, "paceline:e2e_request_latency_seconds_count") == 3
    assert value(text, "paceline:time_to_first_token_seconds_count") == 3
    assert value(text, "paceline:inter_token_latency_seconds_count") == 2 * (0 + 4 + 8)
    assert value(text, "paceline:leaked_blocks") == 0


@pytest.mark.parametrize("name", SERIES)
def test_the_known_names_are_there(shared: Running, name: str) -> None:
    shared.post("/v1/completions", {"prompt": "x", "max_tokens": 3})
    shared.post("/v1/completions", {"prompt": ""})
    text = shared.get("/metrics").text
    assert f"\npaceline:{name}{{" in text or f"# TYPE paceline:{name.removesuffix('_total')}" in text
    assert "vllm:" not in text


def test_vllm_names_can_be_had_too() -> None:
    with running(metrics_compat="vllm") as server:
        server.post("/v1/completions", {"prompt": "x", "max_tokens": 3})
        text = server.get("/metrics").text
    assert value(text, "vllm:generation_tokens_total") == value(text, "paceline:generation_tokens_total") == 3
