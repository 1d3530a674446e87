"""The load driver, ratios and settling on made-up runs; the result has every key whatever was measured."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.common.cells import Cells
from benchmarks.common.svg import Chart, Line, figure
from benchmarks.common.tables import BEGIN, END, Table, write_between_marks
from benchmarks.speculation import texts, workloads
from benchmarks.speculation.drive import SkippingClock, drive
from benchmarks.speculation.figures import latency_figure, load_step_figure
from benchmarks.speculation.forced import Oracle
from benchmarks.speculation.load_step import Step, settling
from benchmarks.speculation.protocol import ARMS, FORCED_ARMS, OURS, PLAIN, QUICK, RHOS, WORKLOADS
from benchmarks.speculation.report import tables
from benchmarks.speculation.result import collect
from benchmarks.speculation.summary import ratios_of_cell
from paceline.llm import embedded_model
from paceline.llm.chat import ChatTemplate
from paceline.llm.core import EngineCore
from paceline.llm.draft.proposer import Context
from paceline.llm.request import Delta, Request
from paceline.llm.tokenizer import Tokenizer

DEVICE = {
    "cpu": "c", "num_cores": 2, "cpu_flags": [], "memory_gib": 1.0, "os": "o", "python": "3", "commit": "x",
    "load_average": 0.1,
}  # fmt: skip


class FakeCore:
    """Answers one request a step with two tokens; a step takes a tenth of a second."""

    def __init__(self, tick: Callable[[float], None]) -> None:
        self._tick = tick
        self._waiting: list[Request] = []

    @property
    def idle(self) -> bool:
        return not self._waiting

    def submit(self, request: Request) -> None:
        self._waiting.append(request)

    def step(self) -> list[Delta]:
        self._tick(0.1)
        done = self._waiting.pop(0)
        return [Delta(request_id=done.request_id, token_ids=(1, 2), finish_reason="length")]


def test_idle_gaps_cost_nothing_and_waiting_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    time_s = [5.0]
    monkeypatch.setattr("benchmarks.speculation.drive.SkippingClock", lambda: SkippingClock(lambda: time_s[0]))
    core = FakeCore(lambda seconds: time_s.__setitem__(0, time_s[0] + seconds))
    prompt = workloads.Prompt((7,), 2, fixed=True)
    requests = [prompt.request(str(index), "s") for index in range(3)]
    run = drive(cast(EngineCore, core), requests, [0.0, 0.05, 1000.0])
    assert [one.latency_s for one in run.served] == pytest.approx([0.1, 0.15, 0.1])
    assert run.busy_s == pytest.approx(0.3)
    assert run.num_tokens == 6


def _latencies(**factors: float) -> dict[str, Any]:
    base = np.linspace(1.0, 2.0, 30).reshape(2, 15)
    return {arm: base * factors.get(arm.replace("-", "_"), 1.0) for arm in ARMS}


def test_ratios_are_of_means_and_paired() -> None:
    ratios = ratios_of_cell(_latencies(paceline=0.5, fixed_3=0.8, fixed_7=2.0))
    assert ratios[OURS]["vs_plain"] == pytest.approx((2.0, 2.0, 2.0))
    assert ratios[OURS]["vs_best_fixed"] == pytest.approx((1.6, 1.6, 1.6))
    assert ratios["fixed-7"]["vs_plain"].value == pytest.approx(0.5)
    assert PLAIN not in ratios


def test_the_interval_of_a_noisy_arm_holds_the_ratio() -> None:
    latencies = _latencies()
    latencies[OURS] = latencies[OURS] * np.random.default_rng(0).uniform(0.8, 1.2, (2, 15))
    value, low, high = ratios_of_cell(latencies)[OURS]["vs_plain"]
    assert low < value < high
    assert high - low < 0.3


def _cells(path: Path) -> Cells:
    cells = Cells(path, {})
    for workload in WORKLOADS:
        cells.put(
            f"saturation/{workload}",
            {
                "requests_per_s": 100.0, "tokens_per_s": 5e3, "alone_s": 0.02, "repeated_share": 0.1,
                "mean_prompt_tokens": 90.0, "mean_output_tokens": 60.0,
            },
        )  # fmt: skip
        for rho in RHOS:
            run = {
                "latencies_us": [20_000, 30_000], "first_us": [1000, 2000], "num_tokens": 100, "span_s": 1.0,
                "busy_s": 1.0, "num_drafted": 10, "num_accepted": 5, "digests": [1, 2], "prediction_error": 0.05,
            }  # fmt: skip
            cells.put(f"live/{workload}/{rho}/0", {arm: run for arm in ARMS})
    cells.put("forced/8/0.7", {arm: {"tokens_per_s": [10.0], "accepted_share": 0.7} for arm in FORCED_ARMS})
    cells.put("calm/random-weights", {"8": {"seconds": {PLAIN: [1.0], OURS: [1.01]}, "accepted_per_token": 0.0}})
    shares = {"us_per_step": 20.0, "share": 0.01, "share_with_proposers": 0.02, "awake_share": 0.1}
    shares["us_per_awake_step"] = 200.0
    cells.put("overhead", {"without_proposals": shares, "with_proposals": shares})
    cells.put("load_step", _load_step())
    place = {"model": "llama-3.1-8b", "device": "H100", "workload": "mixed", "batch": 1}
    speedups = {PLAIN: 1.0, OURS: 2.0, "oracle": 2.5}
    rows = [{**place, "policy": policy, "speedup": speedup} for policy, speedup in speedups.items()]
    cells.put("simulated/llama-3.1-8b/H100/mixed", {"rows": rows, "recorded_traces": False})
    return cells


def _load_step() -> dict[str, Any]:
    return {
        "workload": "code-high-overlap",
        "phases": [{"rho": rho, "start_s": index} for index, rho in enumerate((0.2, 1.0, 0.2))],
        "steps_to_settle": {"up": 12, "down": 0},
        "num_steps": [10, 20, 10],
        "mean_length": [3.0, 1.0, 3.0],
        "mean_sequences": [1.0, 9.0, 1.0],
        "series": [{"at_s": index / 10, "length": 2.0, "num_seqs": 4.0} for index in range(30)],
    }


def test_every_key_is_there_whatever_was_measured(tmp_path: Path) -> None:
    full = collect(DEVICE, _cells(tmp_path / "cells.json"), QUICK)
    empty = collect(DEVICE, Cells(tmp_path / "none.json", {}), QUICK)
    assert full.keys() == empty.keys()
    assert len(full["cells"]) == len(WORKLOADS) * len(RHOS) * (len(ARMS) - 1)
    assert full["prediction_mape"] == 0.05
    assert full["overhead_us_per_step"] == 20.0
    assert full["live"][0]["mean_latency_s"] == 0.025
    assert full["summary"]["geometric_mean_vs_plain"][OURS] == 1.0
    assert {goal["verdict"] for goal in empty["goals"]} == {"not measured"}
    for result in (full, empty):
        assert all(len(row) == len(table.header) for table in tables(result) for row in table.rows)


def test_figures_are_well_formed(tmp_path: Path) -> None:
    result = collect(DEVICE, _cells(tmp_path / "cells.json"), QUICK)
    for text in (latency_figure(result), load_step_figure(result)):
        assert text is not None
        assert ElementTree.fromstring(text).tag.endswith("svg")


def test_a_chart_escapes_text_and_leaves_out_what_cannot_be_drawn() -> None:
    line = Line(points=[(0.0, 0.0), (1.0, float("inf")), (1.0, 10.0), (2.0, 20.0)], colour="red", label="<a>")
    root = ElementTree.fromstring(
        figure([Chart(title="a & b", x_label="x", y_label="y", lines=[line], log_y=True)], columns=1)
    )
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"a & b", "<a>"} <= set(texts)


def test_between_the_marks_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between_marks(readme, ["new", "text"])
    assert readme.read_text() == f"before\n{BEGIN}\n\nnew\n\ntext\n\n{END}\nafter\n"
    assert Table("t", [], []).rows == []


# ── settling ─────────────────────────────────────────────────────────────────────────────────────


def _phase(start: int, lengths: list[int], num_seqs: int) -> list[Step]:
    return [Step(start + index, num_seqs, length * num_seqs) for index, length in enumerate(lengths)]


def test_a_length_that_follows_late_settles_late() -> None:
    low, late = _phase(0, [4] * 200, 1), [4] * 40 + [1] * 260
    assert settling([low, _phase(200, late, 8)]) == [0, 54]
    assert settling([low, _phase(200, [1] * 300, 8)]) == [0, 0]


def test_the_number_of_sequences_may_follow_slowly() -> None:
    low = _phase(0, [4] * 200, 1)
    slow = _phase(200, [4] * 100, 1) + _phase(300, [1] * 300, 8)
    assert settling([low, slow])[1] == 0


# ── forced acceptance ────────────────────────────────────────────────────────────────────────────


def test_the_oracle_is_right_as_often_as_told() -> None:
    rng = random.Random(0)
    answer = [rng.randrange(1000) for _ in range(4000)]
    oracle = Oracle({(1, 2): answer}, 0.7, vocab_size=1000)
    context = Context([1, 2, answer[0]], 2)
    [tree] = oracle.propose([context], 3999)
    assert len(tree) == 3999
    assert np.mean([got == right for got, right in zip(tree.tokens, answer[1:], strict=True)]) == pytest.approx(
        0.7, abs=0.03
    )
    context.tokens.append((answer[1] + 1) % 1000)
    assert len(oracle.propose([context], 4)[0]) == 0


# ── workloads ────────────────────────────────────────────────────────────────────────────────────


class TextSide:
    def __init__(self) -> None:
        folder = Path(embedded_model())
        self.tokenizer = Tokenizer.from_folder(folder)
        self.template = ChatTemplate.from_folder(folder, self.tokenizer)


@pytest.mark.parametrize("workload", ["code-high-overlap", "table-questions", "prose"])
def test_prompts_repeat_by_seed(workload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "_functions", lambda: ["def f(value):\n    return value\n", "def g(): pass"])
    monkeypatch.setattr(texts, "documentation", lambda: ["words of some length " * 100])
    workloads._prose_tokens.cache_clear()
    text = TextSide()
    first = workloads.make_prompts(workload, text, 6, seed=1)
    assert workloads.make_prompts(workload, text, 3, seed=1) == first[:3]
    assert workloads.make_prompts(workload, text, 6, seed=2) != first
    assert all(0 < len(prompt.tokens) < 600 for prompt in first)
    workloads._prose_tokens.cache_clear()
