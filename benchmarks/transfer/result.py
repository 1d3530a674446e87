"""The result: every key, whatever was measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.common.cells import Cells
from benchmarks.engine.goals import as_json
from benchmarks.transfer.accuracy import accuracy_rows, epochs_rows, gap_rows
from benchmarks.transfer.goals import goals
from benchmarks.transfer.irrelevant import irrelevant_recall
from benchmarks.transfer.masking import masking_rows, stability_of, taylor_over_gamma
from benchmarks.transfer.protocol import Protocol
from benchmarks.transfer.pruning import pruning_rows
from benchmarks.transfer.serving import fold_of, serving_of
from benchmarks.transfer.sizes import memory_of
from benchmarks.transfer.speed import speed_of


def collect(device: dict[str, Any], cells: Cells, protocol: Protocol) -> dict[str, Any]:
    """Plain JSON values; a section without cells is empty or None. Shares and accuracies are 0..1."""
    accuracy, epochs = accuracy_rows(cells), epochs_rows(cells)
    result = {
        "device": device,
        "commit": device["commit"],
        "accuracy": accuracy,
        "masking": masking_rows(cells),
        "pruning": pruning_rows(cells),
        "serving": serving_of(cells),
        "adapter_bytes": cells.get("adapter-bytes") or {},
        "gaps": gap_rows(accuracy),
        "epochs_to_95": {method: each["first"] for method, each in epochs.items()},
        "epochs_to_stay_at_95": {method: each["stays"] for method, each in epochs.items()},
        "taylor_over_gamma": taylor_over_gamma(cells),
        "irrelevant_recall": irrelevant_recall(cells),
        "stability": stability_of(cells),
        "speed": speed_of(cells),
        "fold": fold_of(cells),
        "memory": memory_of(cells),
        "protocol": asdict(protocol),
    }
    return {**result, "goals": as_json(goals(result))}
