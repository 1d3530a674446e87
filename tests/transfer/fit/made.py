"""A very small base with random weights, and pictures of shapes for it to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.backbone.load import Base
from paceline.transfer.backbone.resnet import ResNet
from paceline.transfer.fit.feed import PictureFeed
from paceline.transfer.fit.learner import Learner
from paceline.transfer.fit.numerics import Numerics
from paceline.transfer.fit.options import FitOptions
from paceline.transfer.methods import METHODS, prepare
from paceline.transfer.pictures.pictures import Pictures
from tests.transfer.drawn import SHAPES, SIZE, arrays

PREPROCESSING = Preprocessing(size=32, resize=SIZE, mean=(0.5,), std=(0.5,))
NUM_CLASSES = len(SHAPES)


def options(**given: object) -> FitOptions:
    """Quick and exact unless told otherwise."""
    return FitOptions(
        **{
            "epochs": 2,
            "batch_size": 8,
            "check_learning_rate": False,
            "precision": "float32",
            "num_threads": 1,
            **given,
        }  # type: ignore[arg-type]
    )


def base(seed: int = 0) -> Base:
    torch.manual_seed(seed)
    backbone = ResNet("glyphnet", (1, 1, 1, 1), "bottleneck", num_inputs=1, width=4)
    return Base(backbone, "made", "0" * 64, PREPROCESSING)


def pictures(num_per_class: int = 6, seed: int = 0) -> Pictures:
    images, names = arrays(num_per_class, seed)
    classes = tuple(SHAPES)
    labels = np.array([classes.index(name) for name in names])
    return Pictures(images[:, None], labels, classes, tuple(Path(f"{seed}/{row}.png") for row in range(len(labels))))


def adapted(method: str = "affine", from_stage: str = "stem", seed: int = 0) -> AdaptedNet:
    return METHODS[method].make(base(), NUM_CLASSES, from_stage=from_stage, seed=seed)


def feed(given: FitOptions | None = None, num_per_class: int = 6) -> PictureFeed:
    return PictureFeed(
        pictures(num_per_class), pictures(seed=1), PREPROCESSING, given or options(), Numerics("cpu", "float32")
    )


def learner(method: str = "affine", given: FitOptions | None = None) -> Learner:
    net = prepare(adapted(method), METHODS[method])
    return Learner(net, feed(given), given or options(), Numerics("cpu", "float32"))
