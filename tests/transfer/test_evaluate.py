from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, log_loss

from paceline.transfer.evaluate import calibration_error, evaluate, evaluation, macro_f1
from tests.transfer.fit.made import NUM_CLASSES, PREPROCESSING, adapted, pictures


def drawn(num: int = 200, num_classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, num_classes, num)
    logits = generator.normal(size=(num, num_classes)) + 1.5 * np.eye(num_classes)[labels]
    return logits.astype(np.float32), labels


def test_it_agrees_with_scikit_learn() -> None:
    logits, labels = drawn()
    found = evaluation(logits, labels)
    predicted = logits.argmax(1)
    assert found.top1 == pytest.approx((predicted == labels).mean())
    assert found.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found.loss == pytest.approx(log_loss(labels, found.probabilities.astype(np.float32)), rel=1e-4)
    np.testing.assert_array_equal(found.confusion, confusion_matrix(labels, predicted))


def test_top3_holds_the_label_among_the_best_three() -> None:
    logits, labels = np.float32([[4, 3, 2, 1], [4, 3, 2, 1]]), np.array([2, 3])
    assert evaluation(logits, labels).top3 == 0.5
    assert evaluation(logits[:, :2], np.array([0, 1])).top3 == 1.0  # of two classes, all are among the best three


def test_large_logits_are_no_trouble() -> None:
    found = evaluation(np.float32([[3e38, -3e38], [0, 0]]), np.array([0, 1]))
    assert np.isfinite(found.probabilities).all()
    assert found.loss == pytest.approx(np.log(2) / 2)


def test_f1_leaves_out_classes_that_never_occur() -> None:
    assert macro_f1(np.array([[3, 0, 0], [0, 2, 0], [0, 0, 0]])) == 1.0
    assert macro_f1(np.array([[3, 0, 1], [0, 2, 0], [0, 0, 0]])) < 1.0  # answered, and never right


def test_calibration_counts_each_bin_by_its_size() -> None:
    confidence, right = np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, True, True, False])
    assert calibration_error(confidence, right) == pytest.approx((2 * 0.05 + 2 * 0.05) / 4)
    assert calibration_error(np.array([1.0]), np.array([True])) == 0.0


def test_a_network_is_judged_on_pictures() -> None:
    found = evaluate(adapted(), pictures(), PREPROCESSING)
    assert found.probabilities.shape == (24, NUM_CLASSES)
    assert found.confusion.sum() == 24
    np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=1e-5)
