"""Every section on a tiny protocol, gaps and goals on made-up cells; the result has every key whatever was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from benchmarks.common.cells import Cells
from benchmarks.transfer.accuracy import gap_rows, make_nets, measure_accuracy, net_run, place_of
from benchmarks.transfer.data import data, some
from benchmarks.transfer.figures import accuracy_figure, channels_figure
from benchmarks.transfer.goals import best_method
from benchmarks.transfer.irrelevant import measure_irrelevant
from benchmarks.transfer.masking import measure_masking
from benchmarks.transfer.plain import NUM_FEATURES, PlainTraining, resnet50
from benchmarks.transfer.protocol import (
    ALL_METHODS,
    BEST,
    CUT_GOALS,
    FEW_SHOTS,
    FULL,
    GATED,
    GOAL_METHODS,
    GOAL_SHOTS,
    GOAL_TARGET,
    MASK_GOAL,
    NUM_TENANTS,
    QUICK,
    SHOTS,
    TARGETS,
    Group,
    Protocol,
    Run,
)
from benchmarks.transfer.pruning import measure_pruning
from benchmarks.transfer.report import tables
from benchmarks.transfer.result import collect
from benchmarks.transfer.serving import measure_fold, measure_serving, serve
from benchmarks.transfer.sizes import GOAL_ADAPTER, adapter_bytes, tenants
from benchmarks.transfer.speed import _rate
from benchmarks.transfer.work import Job, Work
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Preprocessing, build
from paceline.transfer.backbone.load import Base
from paceline.transfer.compare import CEILING, FLOOR
from paceline.transfer.methods import METHODS

DEVICE = {
    "cpu": "c", "num_cores": 2, "memory_gib": 1.0, "os": "o", "python": "3", "commit": "x", "load_average": 0.1,
    "libraries": {},
}  # fmt: skip
KEYS = {
    "accuracy", "masking", "pruning", "serving", "adapter_bytes", "epochs_to_95", "irrelevant_recall", "stability", "speed",
    "fold", "memory", "device", "commit", "protocol", "goals",
}  # fmt: skip
TINY = replace(
    QUICK,
    name="tiny",
    groups=(Group(GOAL_TARGET, 2, (0, 1), (FLOOR, GATED)),),
    epochs=1,
    val_shots=1,
    test_shots=1,
    net_shots=2,
    net_seeds=(0, 1),
    num_ranked=40,
    num_masked=20,
    cut_shares=(0.7,),
    cut_seeds=(0,),
    heal_epochs=1,
    planted_seeds=(0,),
    num_measured=64,
    num_rounds=2,
    batch_size=8,
    mask_shares=(0.1,),
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def work(tmp_path: Path, protocol: Protocol = TINY) -> Work:
    return Work(Cells(tmp_path / "cells.json", {}), protocol, tmp_path / "nets", num_workers=1)


def test_accuracy_is_kept_cell_by_cell_and_networks_are_made_where_they_are_missing(tmp_path: Path) -> None:
    made = work(tmp_path)
    measure_accuracy(made)
    assert list(made.cells.having("accuracy/")) == [f"{GOAL_TARGET}/2/{s}/{m}" for s in (0, 1) for m in (FLOOR, GATED)]
    cell = made.cells.get(Run(GOAL_TARGET, 2, 0, GATED).name)
    assert cell["num_trained"] == 7712
    assert len(cell["val_top1"]) == 2
    kept = place_of(made.folder, net_run(TINY, 0)) / "adapter.safetensors"
    before = kept.read_bytes()
    place_of(made.folder, net_run(TINY, 1)).joinpath("adapter.json").unlink()
    make_nets(made)
    assert kept.read_bytes() == before
    assert place_of(made.folder, net_run(TINY, 1)).joinpath("adapter.json").exists()
    result = collect(DEVICE, made.cells, TINY)
    assert {row["method"] for row in result["accuracy"]} == {FLOOR, GATED}
    assert set(result["accuracy"][0]) == {
        "target", "shots", "seed", "method", "test_top1", "trainable", "seconds", "gap_closed",
    }  # fmt: skip


def test_masking_and_pruning_read_the_networks(tmp_path: Path) -> None:
    made = work(tmp_path)
    measure_masking(made)
    measure_pruning(made)
    result = collect(DEVICE, made.cells, TINY)
    assert {(row["criterion"], row["share"]) for row in result["masking"]} >= {("none", 0.0), ("taylor", 0.1)}
    assert set(result["masking"][0]) == {"criterion", "share", "test_top1"}
    assert result["stability"]["num_rankings"] == 2
    assert [row["macs"] for row in result["pruning"]] == [1.0, 0.7]
    assert result["pruning"][1].keys() >= {"macs", "before_heal", "after_heal", "latency_ms", "bytes"}
    assert result["pruning"][1]["num_macs"] <= 0.7 * result["pruning"][0]["num_macs"]
    assert result["pruning"][1]["bytes"] < result["pruning"][0]["bytes"]
    assert result["pruning"][0]["speed_up"]["value"] == 1.0
    assert channels_figure(result) is not None


def test_planted_channels_are_looked_for(tmp_path: Path) -> None:
    made = work(tmp_path)
    measure_irrelevant(made)
    found = collect(DEVICE, made.cells, TINY)["irrelevant_recall"]
    assert (
        0 <= found["by_criterion"]["taylor"]["third"]["value"] <= found["by_criterion"]["taylor"]["half"]["value"] <= 1
    )


def test_serving_and_folding_change_no_answer(tmp_path: Path) -> None:
    made = work(tmp_path, replace(TINY, large_size=32))
    measure_serving(made)
    measure_fold(made)
    result = collect(DEVICE, made.cells, TINY)
    assert result["serving"].keys() >= {"base_ms", "mixed8_ms", "separate8_ms", "max_rel_diff"}
    assert result["serving"]["max_rel_diff"] < 1e-4
    assert {"glyphnet affine", "glyphnet lora", "resnet50 affine"} <= set(result["fold"]["by_net"])
    assert result["fold"]["max_rel_diff"] < 1e-4


def test_rows_of_a_batch_that_no_adapter_divides_are_served_too() -> None:
    assert serve(build("resnet18", num_inputs=1, width=8), 13, 1)["max_rel_diff"] < 1e-4


def test_sizes_are_of_the_whole_folder_and_of_all_tenants() -> None:
    small = Preprocessing(size=32, resize=32, mean=(0.5,), std=(0.5,))
    backbone = build("glyphnet", num_inputs=1)
    assert adapter_bytes(backbone, "out", small) < adapter_bytes(backbone, "affine", small)
    found = tenants(backbone, 3)
    assert found == {"tenants": NUM_TENANTS, "held": 3, "bytes": NUM_TENANTS * 4 * (2 * 3856 + 20 * 512 + 20)}


def test_the_plain_network_is_ours_and_learns_as_many_numbers() -> None:
    with torch.device("meta"):
        plain = resnet50(20)
        ours = AdaptedNet(build("resnet50"), 20)
    parameters = sum(parameter.numel() for parameter in plain.parameters())
    assert parameters == sum(parameter.numel() for parameter in ours.parameters()) - 53_120
    training = PlainTraining(20, bfloat16=False)
    assert sum(parameter.numel() for parameter in training.learned) == 53_120 + 20 * (NUM_FEATURES + 1)
    norm = training.net[1]
    before = norm.weight.clone(), norm.running_mean.clone()
    training.epoch(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3]), 2)
    assert not torch.equal(norm.weight, before[0])
    assert torch.equal(norm.running_mean, before[1])


def test_a_rate_is_of_one_epoch(tmp_path: Path) -> None:
    preprocessing = Preprocessing(size=64, resize=64, mean=(0.5,), std=(0.5,))
    base = Base(build("glyphnet", num_inputs=1), "made", "", preprocessing)
    train = some(data(TINY, GOAL_TARGET, 2, 0).train, 10)
    assert len(set(train.labels.tolist())) == len(train) == 10
    assert _rate(base, train, GATED, 4) > 0


def test_jobs_of_many_processes_come_back(tmp_path: Path) -> None:
    made = Work(Cells(tmp_path / "cells.json", {}), TINY, tmp_path, num_workers=2)
    made.cells.put("b", {"value": 7})
    made.fill(Job(name, dict, ((("value", place),),)) for place, name in enumerate("abc"))
    assert [made.cells.get(name)["value"] for name in "abc"] == [0, 7, 2]


def row(method: str, top1: float, *, seed: int = 0, shots: int = GOAL_SHOTS, trainable: int = 100) -> dict[str, Any]:
    return {
        "target": GOAL_TARGET, "shots": shots, "seed": seed, "method": method, "test_top1": top1, "trainable": trainable,
        "seconds": 1.0, "gap_closed": None,
    }  # fmt: skip


def test_the_gap_is_that_of_the_means() -> None:
    rows = [row(FLOOR, 0.4), row(CEILING, 0.6), row(GATED, 0.5)]
    rows += [row(FLOOR, 0.6, seed=1), row(CEILING, 0.6, seed=1), row(GATED, 0.6, seed=1)]  # no gap here
    found = {each["method"]: each for each in gap_rows(rows)}[GATED]
    assert found["gap_closed"]["value"] == pytest.approx((0.55 - 0.5) / (0.6 - 0.5))
    assert found["over_probe"]["value"] == pytest.approx(0.05)
    assert found["over_probe"]["low"] < 0.0 < found["over_probe"]["high"]
    assert gap_rows(rows[2:3])[0]["gap_closed"] is None


def test_the_best_method_learns_few_parameters() -> None:
    rows = [row(CEILING, 0.9, trainable=1000), row("full", 0.88, trainable=500), row("lora", 0.8), row(GATED, 0.7)]
    assert best_method(gap_rows(rows)) == "lora"
    assert best_method(gap_rows(rows[1:])) is None


def test_the_result_has_every_key_whatever_was_measured(tmp_path: Path) -> None:
    result = collect(DEVICE, work(tmp_path).cells, QUICK)
    assert result.keys() >= KEYS
    assert {goal["verdict"] for goal in result["goals"]} == {"not measured"}
    assert [table.title for table in tables(result) if table.rows] == ["Goals"]
    assert accuracy_figure(result) is None
    assert channels_figure(result) is None


def filled(tmp_path: Path) -> Cells:
    """All is as it should be."""
    cells = work(tmp_path).cells
    top1 = {FLOOR: 0.5, GATED: 0.6, BEST: 0.69, CEILING: 0.7}
    for shots in (GOAL_SHOTS, FEW_SHOTS):
        for seed in (0, 1, 2):
            for method, value in top1.items():
                few = 0.1 * (shots == FEW_SHOTS and method == CEILING)
                cell = {
                    "top1": value - few + 0.001 * seed, "num_trained": {CEILING: 1000, FLOOR: 0}.get(method, 100), "seconds": 1.0,
                    "best_epoch": 2, "head_epochs": 1, "val_top1": [0.5, 0.69, 0.7],
                }  # fmt: skip
                cells.put(Run(GOAL_TARGET, shots, seed, method).name, cell)
    for seed, scores in enumerate(((0.1, 0.2, 0.3), (0.1, 0.3, 0.2))):
        masked = {"taylor": {"0.1": 0.5, "0.2": 0.4}, "gamma": {"0.1": 0.3, "0.2": 0.2}}
        cells.put(f"masking/{seed}", {"top1": 0.6, "taylor": {"conv1": scores}, "masked": masked})
    cells.put("irrelevant/0", {"top1": 0.9, "recall": {"separation": {"half": 0.95, "third": 0.8}}})
    for share in (1.0, *CUT_GOALS):
        cut = {"whole": 0.6, "before": 0.3, "after": 0.59, "macs": 100 * share, "bytes": 10, "parameters": 5}
        cells.put(f"pruning/{share:g}/0", cut)
    cells.put("pruned-latency", {f"{share:g}": [share, share] for share in (1.0, *CUT_GOALS)})
    seconds = {"base": [1.0, 1.0], "mixed": [1.0, 1.0], "separate": [2.0, 2.0], "folded": [1.9, 1.9]}
    cells.put("serving", {"seconds": seconds, "max_rel_diff": 1e-6})
    cells.put("fold", {"glyphnet affine": 1e-6})
    cells.put("adapter-bytes", {GOAL_ADAPTER: 200_000})
    cells.put("tenants", {"tenants": 1000, "bytes": 400_000_000})
    cells.put("speed/small", {GATED: [2.0, 2.0], CEILING: [1.0, 1.0]})
    cells.put("speed/large", {GATED: [1.0, 1.0], CEILING: [0.5, 0.5], "plain torch": [1.0, 1.0]})
    return cells


def test_goals_are_found_in_what_was_measured(tmp_path: Path) -> None:
    result = collect(DEVICE, filled(tmp_path), QUICK)
    assert {goal["verdict"] for goal in result["goals"]} == {"aim"}
    assert result["epochs_to_95"][GATED] == 2.0
    assert result["stability"]["overall"] == 0.5
    for text in (accuracy_figure(result), channels_figure(result)):
        assert text is not None
        ElementTree.fromstring(text)
    assert all(len(row) == len(table.header) for table in tables(result) for row in table.rows)
    assert all(table.rows for table in tables(result))


@pytest.mark.parametrize("protocol", [QUICK, FULL])
def test_both_forms_have_every_cell_that_the_goals_name(protocol: Protocol) -> None:
    runs = set(protocol.runs())
    seeds = {run.seed for run in runs if (run.target, run.shots) == (GOAL_TARGET, GOAL_SHOTS)}
    assert len(seeds) >= 3
    wanted = {
        Run(GOAL_TARGET, shots, seed, m) for shots in (GOAL_SHOTS, FEW_SHOTS) for seed in seeds for m in GOAL_METHODS
    }
    assert wanted <= runs
    assert {run.target for run in runs} == set(TARGETS)
    assert set(CUT_GOALS) <= set(protocol.cut_shares)
    assert MASK_GOAL in protocol.mask_shares
    assert set(protocol.cut_seeds) <= set(protocol.net_seeds)
    assert len(protocol.net_seeds) >= 2


def test_the_full_form_has_all_methods_with_five_seeds() -> None:
    runs = list(FULL.runs())
    assert len(runs) == len(set(runs)) == len(TARGETS) * len(SHOTS) * 5 * len(ALL_METHODS)
    assert set(ALL_METHODS) == set(METHODS)
