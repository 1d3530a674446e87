"""Metrics of speculative decoding: vLLM's names, and what explains the decisions on top."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from paceline.llm.messages import SpeculationStats
from paceline.server.histogram import buckets

_BOUNDS = (1, 2, 4, 8, 16, 32)  # nodes of a draft

_COUNTERS: Mapping[str, tuple[str, Callable[[SpeculationStats], float]]] = {  # name: (help, value)
    "spec_decode_num_drafts": ("Drafts verified.", lambda s: s.num_drafts),
    "spec_decode_num_draft_tokens": ("Draft tokens verified.", lambda s: s.num_draft_tokens),
    "spec_decode_num_accepted_tokens": ("Draft tokens accepted.", lambda s: s.num_accepted_tokens),
    "speculation_steps": ("Steps with at least one sequence that decodes.", lambda s: s.num_steps),
    "speculation_plain_steps": ("Of them, those without a draft.", lambda s: s.num_plain_steps),
    "speculation_caught_up_tokens": ("Tokens that proposers computed to keep up.", lambda s: s.num_caught_up_tokens),
    "speculation_draft_seconds": ("Time spent in proposers.", lambda s: s.draft_time_s),
    "speculation_predicted_step_seconds": ("Predicted time of steps.", lambda s: s.predicted_time_s),
    "speculation_actual_step_seconds": ("Time that the same steps took.", lambda s: s.actual_time_s),
}


def draft_metrics(prefix: str, model_name: str, stats: SpeculationStats) -> Iterator[Metric]:
    """Every family, labelled with the model's name."""
    for name, (text, value) in _COUNTERS.items():
        counter = CounterMetricFamily(prefix + name, text, labels=["model_name"])
        counter.add_metric([model_name], value(stats))
        yield counter
    accepted = CounterMetricFamily(
        prefix + "spec_decode_num_accepted_tokens_per_pos", "Accepted draft tokens by position, the first is 0.",
        labels=["model_name", "position"],
    )  # fmt: skip
    for position, count in enumerate(stats.accepted_by_depth):
        accepted.add_metric([model_name, str(position)], count)
    failures = CounterMetricFamily(
        prefix + "speculation_failures", "Exceptions and malformed drafts.", labels=["model_name", "proposer"]
    )
    for proposer, count in stats.num_failures.items():
        failures.add_metric([model_name, proposer], count)
    nodes = HistogramMetricFamily(prefix + "speculation_nodes", "Draft tokens of a draft.", labels=["model_name"])
    nodes.add_metric([model_name], buckets(stats.nodes_per_draft, _BOUNDS), stats.num_draft_tokens)
    yield from (accepted, failures, nodes, *_gauges(prefix, model_name, stats))


def _gauges(prefix: str, model_name: str, stats: SpeculationStats) -> Iterator[Metric]:
    error = GaugeMetricFamily(
        prefix + "speculation_prediction_error", "Mean of |predicted - actual| / actual.", labels=["model_name"]
    )
    error.add_metric([model_name], stats.prediction_error)
    survival = GaugeMetricFamily(
        prefix + "speculation_survival", "Share of drafts accepted up to a position, the first is 0.",
        labels=["model_name", "proposer", "position"],
    )  # fmt: skip
    for proposer, shares in stats.survival.items():
        for position, share in enumerate(shares):
            survival.add_metric([model_name, proposer, str(position)], share)
    policy = GaugeMetricFamily(
        prefix + "speculation_policy", "Numbers of the policy.", labels=["model_name", "policy", "name"]
    )
    for name, number in stats.numbers.items():
        policy.add_metric([model_name, stats.policy, name], number)
    yield from (error, survival, policy)
