"""Trees as flat arrays."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import ConfigError, ModelError
from paceline.streaming.forest import Forest, joined, read_arrays, write_arrays
from paceline.streaming.trees import LEARNERS, Boosting, TreeAverage

INT = np.int32


def stump(feature: int, threshold: float, below: float, above: float, num_features: int = 2) -> Forest:
    return Forest(
        np.array([feature, 0, 0], INT), np.array([threshold, np.inf, np.inf]), np.array([1, 1, 2], INT),
        np.array([2, 1, 2], INT), np.array([[0.0], [below], [above]]), np.array([0], INT), np.zeros(1), 1, num_features,
    )  # fmt: skip


def data(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 5))
    targets = np.stack((np.sin(rows[:, 0]) + (rows[:, 1] > 0), rows[:, 2] * rows[:, 3]), 1)
    return rows, targets + 0.1 * rng.normal(size=targets.shape), rng.random(count) + 0.1


def test_a_row_walks_to_its_leaf() -> None:
    forest = stump(1, 0.5, -1.0, 3.0)
    assert forest(np.array([[9.0, 0.5], [9.0, 0.6]])).tolist() == [[-1.0], [3.0]]


def test_joined_forests_answer_side_by_side() -> None:
    both = joined([stump(0, 0.0, 1, 2), stump(1, 0.0, 3, 4)])
    assert both(np.array([[-1.0, 1.0], [1.0, -1.0]])).tolist() == [[1, 4], [2, 3]]
    assert both.problem() is None


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), kind=st.sampled_from(["ExtraTrees", "RandomForest"]))
def test_flat_trees_say_what_scikit_learn_says(seed: int, kind: str) -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    rows, targets, weights = data(seed)
    forest = TreeAverage(kind=kind, num_trees=5)(rows, targets, weights, seed)  # type: ignore[arg-type]
    reference = getattr(ensemble, f"{kind}Regressor")(
        n_estimators=5, max_depth=16, min_samples_leaf=5, max_features=0.7, bootstrap=True, max_samples=len(rows), random_state=seed
    ).fit(rows, targets, sample_weight=weights)  # fmt: skip
    asked = np.concatenate((rows, np.random.default_rng(seed).normal(size=(50, 5)) * 3))
    assert np.abs(forest(asked) - reference.predict(asked)).max() < 1e-12


def test_boosting_says_what_scikit_learn_says() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    rows, targets, weights = data(0)
    forest = Boosting(num_trees=10)(rows, targets[:, :1], weights, 0)
    chosen = np.random.default_rng(0).permutation(len(rows))
    reference = ensemble.GradientBoostingRegressor(
        n_estimators=10, max_depth=4, learning_rate=0.08, min_samples_leaf=30, max_features=0.3, subsample=0.6, random_state=0
    ).fit(rows[chosen], targets[chosen, 0], sample_weight=weights[chosen])  # fmt: skip
    assert np.abs(forest(rows)[:, 0] - reference.predict(rows)).max() < 1e-12


@pytest.mark.parametrize("name", list(LEARNERS))
def test_every_learner_learns(name: str) -> None:
    pytest.importorskip("sklearn")
    rows, targets, weights = data(1, 1500)
    fresh, wanted, _ = data(2, 300)
    left = ((LEARNERS[name](rows, targets, weights, 0)(fresh) - wanted) ** 2).mean(0)
    assert (left < 0.9 * wanted.var(0)).all()


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    forest = stump(1, 0.5, -1.0, 3.0)
    forest.save(tmp_path / "f.npz", {"note": "x"})
    again, header = Forest.load(tmp_path / "f.npz")
    assert header["note"] == "x"
    assert (again(np.eye(2)) == forest(np.eye(2))).all()


@pytest.mark.parametrize(
    "broken",
    [
        {"left": np.array([7, 1, 2], INT)},
        {"right": np.array([-1, 1, 2], INT)},
        {"roots": np.array([3], INT)},
        {"feature": np.array([2, 0, 0], INT)},
        {"values": np.array([[0.0], [np.nan], [0.0]])},
        {"threshold": np.array([np.nan, 1, 1])},
        {"threshold": np.zeros(2)},
        {"depth": 10**9},
    ],
)
def test_unsound_trees_are_refused(tmp_path: Path, broken: dict[str, object]) -> None:
    replace(stump(1, 0.5, -1.0, 3.0), **broken).save(tmp_path / "f.npz", {})  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="unsound"):
        Forest.load(tmp_path / "f.npz")


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.npz"
    with pytest.raises(ModelError, match="no such file"):
        read_arrays(path)
    for content in (b"", b"nonsense", b"PK\x03\x04 half a file"):
        path.write_bytes(content)
        with pytest.raises(ModelError):
            read_arrays(path)
    np.savez(path, header=np.frombuffer(b'{"version": 99}', np.uint8))
    with pytest.raises(ModelError, match="version"):
        read_arrays(path)
    np.savez(path, header=np.array([object()]))
    with pytest.raises(ModelError):  # a pickle inside
        read_arrays(path)
    write_arrays(path, {"feature": np.zeros(1)}, {})
    with pytest.raises(ModelError, match="no forest"):
        Forest.load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("header.npy", b"no array")
    with pytest.raises(ModelError):
        read_arrays(path)


def test_without_scikit_learn_fitting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    rows, targets, weights = data(0, 30)
    with pytest.raises(ConfigError, match="pip install"):
        TreeAverage(kind="ExtraTrees")(rows, targets, weights, 0)
