from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import torch

from paceline.transfer.fit.options import FitOptions
from paceline.transfer.fit.state import Identity, Standing, copied, learned, put_back
from paceline.transfer.methods import METHODS, prepare
from paceline.transfer.pictures.pictures import Pictures
from tests.transfer.fit.made import adapted, options, pictures


def identity(method: str = "affine", given: FitOptions | None = None, train: Pictures | None = None) -> Identity:
    return Identity.of(adapted(method), METHODS[method], train or pictures(), pictures(seed=1), given or options())


def test_the_same_training_has_no_differences() -> None:
    assert list(identity().differences(identity())) == []


def test_differences_are_named_with_both_values() -> None:
    assert list(identity().differences(identity("lora"))) == [
        "gate is 'affine', was 'lora'",
        "method is 'affine', was 'lora'",
    ]
    assert list(identity(given=options(epochs=3)).differences(identity())) == ["epochs is 3, was 2"]


def test_other_pictures_or_labels_are_another_training() -> None:
    held = pictures()
    renamed = Pictures(held.images, held.labels, held.classes, (Path("other.png"), *held.paths[1:]))
    relabelled = Pictures(held.images, np.roll(held.labels, 1), held.classes, held.paths)
    for changed in (renamed, relabelled):
        (difference,) = identity(train=changed).differences(identity())
        assert difference.startswith("pictures is ")


def test_what_changes_nothing_may_differ() -> None:
    other = options(checkpoint_every_s=1.0, num_threads=2)
    assert list(identity(given=other).differences(identity())) == []


def test_standing_survives_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(Standing()), type=Standing) == Standing()


def test_statistics_are_learned_only_from_nothing() -> None:
    def names(method: str) -> set[str]:
        return set(learned(prepare(adapted(method), METHODS[method])))

    assert names("probe") == {"head.weight", "head.bias"}
    assert "backbone.bn1.running_mean" in names("scratch")
    assert "backbone.bn1.running_mean" not in names("full_finetune")
    assert "backbone.bn1.weight" in names("full_finetune")
    assert all(name.startswith(("gates.", "head.")) for name in names("affine"))


def test_what_is_put_back_is_what_was_copied() -> None:
    net = adapted()
    tensors = learned(net)
    held = copied(tensors)
    with torch.no_grad():
        net.head.weight.add_(1.0)
    assert not torch.equal(held["head.weight"], net.head.weight)
    put_back(tensors, held)
    assert torch.equal(held["head.weight"], net.head.weight)
