"""Metrics of many models behind one port, labelled with the model's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from paceline.multiplex.messages import RuntimeStats, TenantStats
from paceline.server.histogram import buckets

PREFIX = "paceline_multiplex_"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_MEMBERS = (1, 2, 4, 8, 16, 32, 64)

_GAUGES: Mapping[str, tuple[str, Callable[[RuntimeStats], float]]] = {  # name: (help, value)
    "requests_waiting": ("Requests in the window.", lambda s: s.num_waiting),
    "prediction_error": ("Mean of |predicted - actual| / actual of launches.", lambda s: s.prediction_error),
    "weights_bytes": ("Memory of all weights, stacked and shared.", lambda s: s.weights_bytes),
}
_COUNTERS: Mapping[str, tuple[str, Callable[[RuntimeStats], float]]] = {
    "launch_seconds": ("Time in launches.", lambda s: s.launch_time_s),
    "rows": ("Rows computed for requests.", lambda s: s.num_rows),
    "padded_rows": ("Rows computed for nobody.", lambda s: s.num_padded_rows),
}
_TENANT_COUNTERS: Mapping[str, tuple[str, Callable[[TenantStats], float]]] = {
    "done": ("Requests that were answered.", lambda s: s.num_done),
    "late": ("Requests that missed their deadline.", lambda s: s.num_late),
    "failed": ("Requests that failed on the device.", lambda s: s.num_failed),
    "coalesced": ("Requests answered by launches with others.", lambda s: s.num_coalesced),
    "device_seconds": ("Share of the time in launches.", lambda s: s.device_time_s),
}


@final
class TenantMetrics:
    """Offered, admitted and rejected requests and latencies as clients see them; the rest is the engine's."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._engine = _EngineNumbers()
        self._registry.register(self._engine)
        self._offered = self._counter("offered", "Requests that came.")
        self._admitted = self._counter("admitted", "Requests that the engine took.")
        self._rejected = self._counter("rejected", "Requests that got an error.", "reason")
        self._aborted = self._counter("aborted", "Requests whose client left.")
        self._seconds = Histogram(
            PREFIX + "request_seconds", "Body read to answer made, of answered requests.", ["model"],
            registry=self._registry, buckets=_SECONDS,
        )  # fmt: skip

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, text, ["model", *labels], registry=self._registry)

    def offered(self, model: str) -> None:
        self._offered.labels(model).inc()

    def admitted(self, model: str) -> None:
        self._admitted.labels(model).inc()

    def answered(self, model: str, seconds: float) -> None:
        self._seconds.labels(model).observe(seconds)

    def rejected(self, model: str, code: str) -> None:
        self._rejected.labels(model, code).inc()

    def aborted(self, model: str) -> None:
        self._aborted.labels(model).inc()

    def render(self, stats: RuntimeStats | None, num_restarts: int) -> bytes:
        """The text exposition. Without ``stats`` (no engine now) its numbers are left out."""
        self._engine.stats = stats
        self._engine.num_restarts = num_restarts
        return generate_latest(self._registry)


@final
class _EngineNumbers(Collector):
    """What the engine counts itself, handed over at each scrape."""

    def __init__(self) -> None:
        self.stats: RuntimeStats | None = None
        self.num_restarts = 0

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(PREFIX + "engine_restarts", "Times the engine was restarted.", self.num_restarts)
        if self.stats is None:
            return
        for name, (text, value) in _GAUGES.items():
            yield GaugeMetricFamily(PREFIX + name, text, value(self.stats))
        for name, (text, value) in _COUNTERS.items():
            yield CounterMetricFamily(PREFIX + name, text, value(self.stats))
        members = self.stats.members_per_launch
        num_members = sum(size * count for size, count in enumerate(members, start=1))
        yield HistogramMetricFamily(
            PREFIX + "launch_requests", "Requests in a launch.", buckets(members, _MEMBERS), sum_value=num_members
        )
        for name, (text, of_tenant) in _TENANT_COUNTERS.items():
            counter = CounterMetricFamily(PREFIX + name, text, labels=["model"])
            for model, tenant in self.stats.tenants.items():
                counter.add_metric([model], of_tenant(tenant))
            yield counter
