"""How good a network is on pictures that it has not learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

    from paceline.transfer.backbone.backbone import Preprocessing
    from paceline.transfer.fit.numerics import Numerics
    from paceline.transfer.pictures.pictures import Pictures

NUM_BINS: Final = 15  # of the calibration error


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Shares are 0..1."""

    top1: float
    top3: float
    macro_f1: float  # over the classes that occur, as labels or as answers
    ece: float  # expected calibration error (Guo et al., 2017, arXiv 1706.04599)
    loss: float  # cross-entropy in nats
    confusion: NDArray[np.int64]  # [K, K], true classes down, predicted ones across
    probabilities: NDArray[np.float32]  # [N, K]


def evaluate(
    net: nn.Module, pictures: Pictures, preprocessing: Preprocessing, numerics: Numerics | None = None
) -> Evaluation:
    """Judges ``net`` on all pictures; in full precision unless ``numerics`` say otherwise."""
    from paceline.transfer.fit.predict import predict

    return evaluation(predict(net, pictures, preprocessing, numerics).numpy(), pictures.labels)


def evaluation(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Evaluation:
    """[N, K] and [N], N >= 1

    >>> found = evaluation(np.log(np.float32([[0.9, 0.1], [0.6, 0.4]])), np.array([0, 1]))
    >>> found.top1, round(found.ece, 3), found.confusion.tolist()
    (0.5, 0.35, [[1, 0], [1, 0]])
    """
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    probabilities = np.exp(log_probabilities)
    rows = np.arange(len(labels))
    predicted = logits.argmax(1)
    confusion = np.zeros((logits.shape[1],) * 2, np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    best_three = np.argsort(-logits, axis=1, kind="stable")[:, :3]
    return Evaluation(
        top1=float((predicted == labels).mean()),
        top3=float((best_three == labels[:, None]).any(1).mean()),
        macro_f1=macro_f1(confusion),
        ece=calibration_error(probabilities.max(1), predicted == labels),
        loss=float(-log_probabilities[rows, labels].mean()),
        confusion=confusion,
        probabilities=probabilities.astype(np.float32),
    )


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """The mean of 2 TP / (2 TP + FP + FN) over the classes that occur, as labels or as answers: [K, K]

    >>> round(macro_f1(np.array([[2, 0], [1, 1]])), 3)
    0.733
    """
    right = np.diag(confusion)
    seen = confusion.sum(0) + confusion.sum(1)  # 2 TP + FP + FN
    return float((2 * right[seen > 0] / seen[seen > 0]).mean())


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """How far confidence is from being right, on average over ``NUM_BINS`` bins of equal width: [N], [N]"""
    bins = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    gaps = np.bincount(bins, confidence - right, minlength=NUM_BINS)
    return float(np.abs(gaps).sum() / len(right))
