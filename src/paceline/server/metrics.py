"""Prometheus metrics: vLLM's names behind our prefix, so that its dashboards port by a search and replace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from paceline.llm.messages import EngineStats
from paceline.llm.request import Delta
from paceline.server.drafts import draft_metrics

PREFIX = "paceline:"
Compat = Literal["none", "vllm"]

_FIRST_TOKEN_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_TOKEN_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5)
_REQUEST_S = (0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)

_Numbers = Mapping[str, tuple[str, Callable[[EngineStats], float]]]

_GAUGES: _Numbers = {  # name: (help, value)
    "num_requests_running": ("Requests that take part in steps.", lambda s: s.num_running),
    "num_requests_waiting": ("Requests in the queue.", lambda s: s.num_waiting),
    "kv_cache_usage_perc": ("Share of key-value blocks in use, 0 to 1.", lambda s: s.num_blocks_used / s.num_blocks),
    "leaked_blocks": ("Blocks in use while nothing runs; must be 0.", lambda s: s.num_leaked_blocks),
}
_COUNTERS: _Numbers = {
    "prefix_cache_queries": ("Prompt tokens looked up in the prefix cache.", lambda s: s.num_prefix_queries),
    "prefix_cache_hits": ("Prompt tokens found in the prefix cache.", lambda s: s.num_prefix_hits),
    "num_preemptions": ("Requests that gave their blocks back to be computed anew.", lambda s: s.num_preemptions),
    "iteration_tokens": ("Rows that the steps computed.", lambda s: s.num_rows),
    "iterations": ("Steps.", lambda s: s.num_steps),
    "nan_logits": ("Rows whose logits were not numbers.", lambda s: s.num_failed_rows),
}


@final
class Metrics:
    """The numbers of one server, all labelled with the model's name."""

    def __init__(self, model_name: str) -> None:
        self._model = model_name
        self._registry = CollectorRegistry()
        self._engine = _EngineNumbers(model_name)
        self._registry.register(self._engine)
        self.time_to_first_token = self._histogram("time_to_first_token_seconds", "Arrival to token.", _FIRST_TOKEN_S)
        self.inter_token_latency = self._histogram("inter_token_latency_seconds", "Time between tokens.", _TOKEN_S)
        self.time_per_output_token = self._histogram(
            "request_time_per_output_token_seconds", "Mean time between a request's tokens.", _TOKEN_S
        )
        self.e2e_latency = self._histogram("e2e_request_latency_seconds", "Arrival to last token.", _REQUEST_S)
        self.queue_time = self._histogram("request_queue_time_seconds", "Arrival to the first step.", _FIRST_TOKEN_S)
        self.prefill_time = self._histogram("request_prefill_time_seconds", "First step to token.", _FIRST_TOKEN_S)
        self.decode_time = self._histogram("request_decode_time_seconds", "First to last token.", _REQUEST_S)
        self.inference_time = self._histogram("request_inference_time_seconds", "First step to end.", _REQUEST_S)
        self.request_prompt_tokens = self._histogram("request_prompt_tokens", "Prompt tokens of a request.", _TOKENS)
        self.request_generation_tokens = self._histogram("request_generation_tokens", "Tokens made for it.", _TOKENS)
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens of started requests.").labels(model_name)
        self.generation_tokens = self._counter("generation_tokens", "Tokens made.").labels(model_name)
        self._success = self._counter("request_success", "Finished samples.", "finished_reason")
        self._rejected = self._counter("rejected", "Requests that got an error.", "reason")
        self._aborted = self._counter("aborted", "Requests whose client left.", "stage")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, text, ["model_name", *labels], registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        family = Histogram(PREFIX + name, text, ["model_name"], registry=self._registry, buckets=buckets)
        return family.labels(self._model)

    def finished(self, reason: str) -> None:
        self._success.labels(self._model, reason).inc()

    def rejected(self, code: str) -> None:
        self._rejected.labels(self._model, code).inc()

    def aborted(self, stage: Literal["body", "plain", "stream"]) -> None:
        self._aborted.labels(self._model, stage).inc()

    def render(self, stats: EngineStats | None, num_restarts: int, compat: Compat) -> bytes:
        """The text exposition. Without ``stats`` (no engine now) its gauges are left out."""
        self._engine.stats = stats
        self._engine.num_restarts = num_restarts
        text = generate_latest(self._registry)
        if compat == "vllm":
            text += text.replace(PREFIX.encode(), b"vllm:")
        return text


@final
class _EngineNumbers(Collector):
    """What the engine counts itself, handed over at each scrape."""

    def __init__(self, model_name: str) -> None:
        self.stats: EngineStats | None = None
        self.num_restarts = 0
        self._model = model_name

    def collect(self) -> Iterable[Metric]:
        restarts = CounterMetricFamily(
            PREFIX + "engine_restarts", "Times the engine was restarted.", labels=["model_name"]
        )
        restarts.add_metric([self._model], self.num_restarts)
        yield restarts
        if self.stats is None:
            return
        for name, (text, value) in _GAUGES.items():
            gauge = GaugeMetricFamily(PREFIX + name, text, labels=["model_name"])
            gauge.add_metric([self._model], value(self.stats))
            yield gauge
        for name, (text, value) in _COUNTERS.items():
            counter = CounterMetricFamily(PREFIX + name, text, labels=["model_name"])
            counter.add_metric([self._model], value(self.stats))
            yield counter
        if self.stats.speculation is not None:
            yield from draft_metrics(PREFIX, self._model, self.stats.speculation)


@final
class Stopwatch:
    """Times the tokens of one request (one prompt, all its samples)."""

    def __init__(self, metrics: Metrics, num_prompt: int, began: float) -> None:
        self._metrics = metrics
        self._began = began
        self._last: dict[int, float] = {}
        self._first = 0.0
        self._queued_s = 0.0
        self._num_tokens = 0
        metrics.prompt_tokens.inc(num_prompt)
        metrics.request_prompt_tokens.observe(num_prompt)

    def see(self, delta: Delta) -> None:
        """Counts one delta, which arrived now."""
        now = time.monotonic()
        num_tokens = len(delta.token_ids)
        if num_tokens:
            if not self._last:
                self._first = now
                self._queued_s = delta.queued_s
                self._metrics.time_to_first_token.observe(now - self._began)
            elif delta.index in self._last:
                self._metrics.inter_token_latency.observe(now - self._last[delta.index])
            self._last[delta.index] = now
            self._num_tokens += num_tokens
            self._metrics.generation_tokens.inc(num_tokens)
        if delta.finish_reason is not None:
            self._metrics.finished(delta.finish_reason)

    def stop(self) -> None:
        """The request has finished with all its samples."""
        now = time.monotonic()
        num_gaps = self._num_tokens - len(self._last)
        if num_gaps > 0:
            self._metrics.time_per_output_token.observe((now - self._first) * len(self._last) / num_gaps)
        self._metrics.e2e_latency.observe(now - self._began)
        if self._last:
            self._metrics.queue_time.observe(self._queued_s)
            self._metrics.prefill_time.observe(max(0.0, self._first - self._began - self._queued_s))
            self._metrics.decode_time.observe(now - self._first)
            self._metrics.inference_time.observe(max(0.0, now - self._began - self._queued_s))
        self._metrics.request_generation_tokens.observe(self._num_tokens)
