"""What adapting is meant to reach, beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.engine.goals import Goal
from benchmarks.transfer.protocol import CUT_GOALS, FEW_SHOTS, GATED, GOAL_SHOTS, GOAL_TARGET, NUM_TENANTS
from benchmarks.transfer.sizes import GOAL_ADAPTER
from paceline.transfer.compare import CEILING
from paceline.transfer.methods import METHODS

PARAMETER_SHARE = 0.1  # of full fine-tuning's, the most that what we call our best may learn
_POINTS = 100.0


def goals(result: dict[str, Any]) -> list[Goal]:
    """Every goal with what was measured."""
    return [*_accuracy(result), *_channels(result), *_serving(result), *_speed(result["speed"])]


def best_method(gaps: list[dict[str, Any]]) -> str | None:
    """Of methods that learn gates of few enough parameters, the one that closes most of the gap at the goal's target and shots."""
    rows = {row["method"]: row for row in gaps if (row["target"], row["shots"]) == (GOAL_TARGET, GOAL_SHOTS)}
    if CEILING not in rows:
        return None
    limit = PARAMETER_SHARE * rows[CEILING]["trainable"]
    ours = [name for name, row in rows.items() if METHODS[name].trains == "gates" and row["trainable"] <= limit]
    return max(ours, key=lambda name: rows[name]["test_top1"]["value"], default=None)


def _accuracy(result: dict[str, Any]) -> Iterator[Goal]:
    rows = {(row["target"], row["shots"], row["method"]): row for row in result["gaps"]}
    best = best_method(result["gaps"])
    many = {name: rows.get((GOAL_TARGET, GOAL_SHOTS, name), {}) for name in (GATED, best, CEILING)}
    few = rows.get((GOAL_TARGET, FEW_SHOTS, best), {})
    where = f"{GOAL_TARGET}, {GOAL_SHOTS} shots"
    shown = best or "best method"
    yield _at_least(f"{where}: {GATED} closes of the gap", _value(many[GATED].get("gap_closed")), 0.4, aim=0.45)
    low = (many[GATED].get("over_probe") or {}).get("low")
    yield _at_least(f"{where}: {GATED} over the probe, lower end of the interval, points", _points(low), 0.0)
    yield _at_least(f"{where}: {shown} closes of the gap", _value(many[best].get("gap_closed")), 0.7, aim=0.85)
    share = many[best]["trainable"] / many[CEILING]["trainable"] if best else None
    yield _at_most(f"{shown}: what it learns, share of full fine-tuning's", share, PARAMETER_SHARE)
    over = _points(_value(few.get("over_full")))
    yield _at_least(f"{GOAL_TARGET}, {FEW_SHOTS} shots: {shown} over full fine-tuning, points", over, 0.0)
    for name in dict.fromkeys((GATED, shown)):
        first = result["epochs_to_95"].get(name)
        yield _at_most(f"{where}: {name}, epochs to 95 % of its final accuracy, the head's included", first, 6.0)


def _channels(result: dict[str, Any]) -> Iterator[Goal]:
    value = _points(_value(result["taylor_over_gamma"]))
    yield _at_least("a tenth of the channels masked: Taylor over gamma, points", value, 3.0)
    found = result["irrelevant_recall"]
    value = found and found["by_criterion"]["separation"]["half"]["value"]
    yield _at_least("known-irrelevant channels in the lowest half, by separation", value, 0.9)
    rows = {row["macs"]: row for row in result["pruning"]}
    for share, lost in CUT_GOALS.items():
        row = rows.get(share, {})
        yield _at_most(
            f"cut to {share:g} × MACs and healed: accuracy lost, points", _points(row.get("lost")), _POINTS * lost
        )
        yield _at_least(f"cut to {share:g} × MACs: times as fast", _value(row.get("speed_up")), 1.0)


def _serving(result: dict[str, Any]) -> Iterator[Goal]:
    folded, serving, memory = result["fold"], result["serving"] or {}, result["memory"]
    yield _at_most("folded: largest relative difference", folded and folded["max_rel_diff"], 1e-5)
    yield _at_most("mixed batch: largest relative difference", serving.get("max_rel_diff"), 1e-5)
    yield _at_most(
        "8 adapters in one batch: time over the base's, norms unfolded", _value(serving.get("mixed_over_base")), 1.15
    )
    yield _at_least(
        "8 adapters: time of eight batches over one mixed batch", _value(serving.get("separate_over_mixed")), 1.8
    )
    size = result["adapter_bytes"].get(GOAL_ADAPTER)
    yield _at_most("affine adapter of ResNet-50, 20 classes, fp16, kB", size and size / 1e3, 220.0)
    yield _at_most(
        f"{NUM_TENANTS} tenants of ResNet-50, 20 classes, GB",
        memory and memory["bytes"] / 1e9,
        0.5,
    )


def _speed(speed: dict[str, Any] | None) -> Iterator[Goal]:
    found = speed or {}
    for net, key in (("the packaged network", "affine_over_full"), ("ResNet-50 at 224", "resnet50_affine_over_full")):
        yield _at_least(f"training {net}: affine's pictures/s over full fine-tuning's", _value(found.get(key)), 1.7)
    yield _at_least(
        "training ResNet-50 at 224: our pictures/s over plain torch's", _value(found.get("resnet50_over_plain")), 0.9
    )


def _value(bounds: dict[str, Any] | None) -> float | None:
    return bounds["value"] if bounds else None


def _points(share: float | None) -> float | None:
    return None if share is None else _POINTS * share


def _at_least(name: str, value: float | None, floor: float, *, aim: float | None = None) -> Goal:
    return Goal(name=name, value=value, floor=floor, aim=floor if aim is None else aim, at_most=False)


def _at_most(name: str, value: float | None, bound: float) -> Goal:
    return Goal(name=name, value=value, floor=bound, aim=bound)
