"""Cells to figures: medians over rounds, ratios to the fastest peer, intervals."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.common.cells import Cells
from benchmarks.common.intervals import bootstrap, bootstrap_ratio
from benchmarks.engine.protocol import ARMS, BATCHES, GROUPS, PREFILLS
from benchmarks.engine.quality import FAMILIES, WEIGHTS
from benchmarks.engine.serving import SERVED

PEERS = tuple(arm for arm in ARMS if arm != "paceline")
Rounds = dict[str, list[float]]  # arm -> one value per round


def summarise(cells: Cells) -> dict[str, Any]:
    """Every figure of the result; a key whose cells are missing is empty or None."""
    decode = {group: {str(batch): _decode_rounds(cells, group, str(batch)) for batch in BATCHES} for group in GROUPS}
    prefill = {name: _prefill_rounds(cells, name, *shape) for name, shape in PREFILLS.items()}
    return {
        "decode_step_ms": {group: _by_arm(sizes) for group, sizes in decode.items()},
        "prefill_tokens_per_s": _medians(prefill["8x64"], 1),
        "prefill_512_tokens_per_s": _medians(prefill["1x512"], 1),
        **_starts(cells),
        **_served(cells),
        "decode_over_fastest_peer": {group: _each(sizes, _over_fastest) for group, sizes in decode.items()},
        "decode_over_fastest_peer_interval": {group: _each(sizes, _over_interval) for group, sizes in decode.items()},
        "fastest_peer": {group: _each(sizes, fastest) for group, sizes in decode.items()},
        "transformers_over_decode": {group: _each(decode[group], _transformers_over) for group in ("A", "B")},
        "prefill_over_best_peer": _each(prefill, lambda rounds: _inverse(_over_fastest(rounds))),
        "decode_step_ms_interval": {
            group: {
                arm: {batch: bounds(sizes[batch][arm]) for batch in sizes if arm in sizes[batch]}
                for arm in _arms(sizes)
            }
            for group, sizes in decode.items()
        },
        "memory": _memory(cells),
        "perplexity": _perplexity(cells),
        "logits": {family: found for family in FAMILIES if (found := cells.get(f"logits/{family}"))},
        "load_average_max": max((cell["load_average"] for cell in cells.having("steps/").values()), default=None),
    }


def _decode_rounds(cells: Cells, group: str, batch: str) -> Rounds:
    rounds: Rounds = {}
    for cell in cells.having(f"steps/{group}/").values():
        for arm, sizes in cell["decode_step_ms"].items():
            if batch in sizes:
                rounds.setdefault(arm, []).append(sizes[batch])
    return rounds


def _prefill_rounds(cells: Cells, name: str, num_prompts: int, length: int) -> Rounds:
    """Seconds per token, so that smaller is better as in decoding."""
    rounds: Rounds = {}
    for cell in cells.having("steps/A/").values():
        for arm, seconds in cell["prefill_s"].get(name, {}).items():
            rounds.setdefault(arm, []).append(seconds / (num_prompts * length))
    return rounds


def _arms(sizes: dict[str, Rounds]) -> list[str]:
    return list(dict.fromkeys(arm for rounds in sizes.values() for arm in rounds))


def _by_arm(sizes: dict[str, Rounds]) -> dict[str, dict[str, float]]:
    return {
        arm: {batch: round(statistics.median(rounds[arm]), 3) for batch, rounds in sizes.items() if arm in rounds}
        for arm in _arms(sizes)
    }


def _medians(seconds_per_token: Rounds, digits: int) -> dict[str, float]:
    return {arm: round(1.0 / statistics.median(rounds), digits) for arm, rounds in seconds_per_token.items()}


def _each(sizes: dict[str, Rounds], figure: Any) -> dict[str, Any]:
    return {batch: found for batch, rounds in sizes.items() if (found := figure(rounds)) is not None}


def fastest(rounds: Rounds) -> str | None:
    """The peer with the smallest median; None without peers.

    >>> fastest({"paceline": [1.0], "vllm": [3.0], "llamacpp": [2.0]})
    'llamacpp'
    """
    peers = [arm for arm in PEERS if arm in rounds]
    return min(peers, key=lambda arm: statistics.median(rounds[arm]), default=None)


def _over_fastest(rounds: Rounds) -> float | None:
    peer = fastest(rounds)
    if peer is None or "paceline" not in rounds:
        return None
    return round(statistics.median(rounds["paceline"]) / statistics.median(rounds[peer]), 3)


def _over_interval(rounds: Rounds) -> list[float] | None:
    peer = fastest(rounds)
    if peer is None or len(rounds.get("paceline", ())) != len(rounds[peer]):
        return None
    ratio = bootstrap_ratio(rounds["paceline"], rounds[peer])
    return [round(ratio.low, 3), round(ratio.high, 3)]


def _transformers_over(rounds: Rounds) -> float | None:
    if not {"paceline", "transformers"} <= rounds.keys():
        return None
    return round(statistics.median(rounds["transformers"]) / statistics.median(rounds["paceline"]), 2)


def _inverse(ratio: float | None) -> float | None:
    return None if ratio is None else round(1.0 / ratio, 3)


def bounds(samples: list[float]) -> list[float]:
    """The 95 % bootstrap interval of the median."""
    interval = bootstrap(samples)
    return [round(interval.low, 3), round(interval.high, 3)]


def _starts(cells: Cells) -> dict[str, float | None]:
    starts = list(cells.having("starts/").values())
    keys = ("cold_start_s", "help_s", "import_s")
    return {key: round(statistics.median(start[key] for start in starts), 3) if starts else None for key in keys}


def _served(cells: Cells) -> dict[str, Any]:
    """The ratio of model A as a plain number; the packaged model's and the absolute figures beside it."""
    found: dict[str, Any] = {"served_over_offline": None, "served_over_offline_embedded": None, "served": {}}
    for model in SERVED:
        rounds = list(cells.having(f"served/{model}/").values())
        if not rounds:
            continue
        served = [cell["served_tokens_per_s"] for cell in rounds]
        offline = [cell["offline_tokens_per_s"] for cell in rounds]
        ratio = bootstrap_ratio(served, offline)
        key = "served_over_offline" if model == "A" else f"served_over_offline_{model}"
        found[key] = round(ratio.value, 3)
        found["served"][model] = {
            "served_tokens_per_s": round(statistics.median(served), 1),
            "offline_tokens_per_s": round(statistics.median(offline), 1),
            "ratio_low": round(ratio.low, 3),
            "ratio_high": round(ratio.high, 3),
            "ttft_s": round(statistics.median(cell["ttft_s"] for cell in rounds), 3),
            "tpot_s": round(statistics.median(cell["tpot_s"] for cell in rounds), 4),
        }
    return found


def _memory(cells: Cells) -> dict[str, Any]:
    """Megabytes (10^6), and the engine's share of its bound: 1.2 x weights + KV pool + 450 MB."""
    found = {}
    for model, cell in cells.having("memory/").items():
        bound = 1.2 * cell["weights_bytes"] + cell["kv_bytes"] + 450e6
        found[model] = {
            "server_mb": round(cell["server_bytes"] / 1e6, 1),
            "engine_mb": round(cell["engine_bytes"] / 1e6, 1),
            "offline_engine_mb": round(cell["offline_engine_bytes"] / 1e6, 1),
            "weights_mb": round(cell["weights_bytes"] / 1e6, 1),
            "kv_pool_mb": round(cell["kv_bytes"] / 1e6, 1),
            "engine_over_bound": round(cell["engine_bytes"] / bound, 3),
        }
    return found


def _perplexity(cells: Cells) -> dict[str, float]:
    found = {weights: value for weights in WEIGHTS if (value := cells.get(f"perplexity/{weights}")) is not None}
    ratios = {
        f"{weights}_over_bf16": found[weights] / found["bf16"]
        for weights in ("int8", "int4")
        if weights in found and "bf16" in found
    }
    return {name: round(value, 5) for name, value in {**found, **ratios}.items()}
