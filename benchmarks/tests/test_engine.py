"""Cells to figures: the result has every key whatever was measured, and goals read the right cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.common.cells import Cells
from benchmarks.engine.goals import goals
from benchmarks.engine.models import LAYOUTS, Layout, make
from benchmarks.engine.protocol import GROUPS, QUICK
from benchmarks.engine.report import BEGIN, END, tables, write_readme
from benchmarks.engine.summary import summarise


def _cells(path: Path) -> Cells:
    cells = Cells(path, {})
    steps = {"paceline": 2.0, "transformers": 6.0, "llamacpp": 1.6, "openvino": 3.0}
    for group in GROUPS:
        for turn in range(2):
            cell: dict[str, Any] = {"decode_step_ms": {arm: {"1": ms, "8": ms, "32": ms} for arm, ms in steps.items()}}
            cell |= {"prefill_s": {"8x64": {"paceline": 1.0, "openvino": 0.8}}, "load_average": 0.5}
            cells.put(f"steps/{group}/{turn}", cell)
    cells.put("starts/0", {"cold_start_s": 2.0, "help_s": 0.2, "import_s": 0.1, "load_average": 0.1})
    served = {"served_tokens_per_s": 95.0, "offline_tokens_per_s": 100.0, "ttft_s": 0.1, "tpot_s": 0.01}
    cells.put("served/A/0", served)
    sizes = {"server_bytes": 1e8, "engine_bytes": 1e9, "offline_engine_bytes": 1e9, "weights_bytes": 5e8}
    cells.put("memory/A", {**sizes, "kv_bytes": 2e8})
    for weights, value in (("bf16", 5.0), ("int8", 5.01), ("int4", 5.2)):
        cells.put(f"perplexity/{weights}", value)
    cells.put("logits/llama", {"max_difference": 1e-5, "greedy_equal": True})
    return cells


def test_figures(tmp_path: Path) -> None:
    figures = summarise(_cells(tmp_path / "cells.json"))
    assert figures["decode_step_ms"]["A"]["paceline"] == {"1": 2.0, "8": 2.0, "32": 2.0}
    assert figures["decode_over_fastest_peer"]["B"]["1"] == 1.25
    assert figures["fastest_peer"]["A-int4"]["8"] == "llamacpp"
    assert figures["transformers_over_decode"]["A"]["32"] == 3.0
    assert figures["prefill_tokens_per_s"] == {"paceline": 512.0, "openvino": 640.0}
    assert figures["prefill_over_best_peer"] == {"8x64": 0.8}
    assert (figures["cold_start_s"], figures["served_over_offline"]) == (2.0, 0.95)
    assert figures["memory"]["A"]["engine_over_bound"] == pytest.approx(1e9 / 1.25e9)
    assert figures["perplexity"]["int4_over_bf16"] == 1.04


def test_verdicts(tmp_path: Path) -> None:
    found = {goal.name: goal.verdict for goal in goals(summarise(_cells(tmp_path / "cells.json")))}
    assert found["decode step A, batch 1, over the fastest peer"] == "missed"
    assert found["decode step A-int8, batch 1, over the fastest peer"] == "floor"
    assert found["32 clients through HTTP over offline, A"] == "aim"
    assert found["perplexity int4 over bf16, packaged target"] == "missed"
    assert found["prefill rate A, 1x512, over the best peer"] == "not measured"


def test_nothing_measured_still_has_every_key(tmp_path: Path) -> None:
    empty, full = summarise(Cells(tmp_path / "none.json", {})), summarise(_cells(tmp_path / "cells.json"))
    assert empty.keys() == full.keys()
    assert {goal.verdict for goal in goals(empty)} == {"not measured"}


def test_readme_keeps_what_stands_around_the_tables(tmp_path: Path) -> None:
    figures = summarise(_cells(tmp_path / "cells.json"))
    device = {"cpu": "c", "num_cores": 2, "cpu_flags": [], "memory_gib": 1.0, "os": "o", "python": "3", "commit": "x"}
    protocol = {"name": QUICK.name, "num_rounds": 2}
    result = {**figures, "goals": [], "device": device, "versions": {}, "missing": {}, "protocol": protocol}
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_readme(result, readme)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert all(title in text for title, _, _ in tables(result))


def test_a_model_is_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Layout(num_layers=1, hidden_size=64, intermediate_size=64, num_heads=1, num_kv_heads=1)
    monkeypatch.setitem(LAYOUTS, "tiny", tiny)
    first, second = make("tiny", tmp_path / "a"), make("tiny", tmp_path / "b")
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        path.name: path.read_bytes() for path in second.iterdir()
    }
