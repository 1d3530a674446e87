from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from paceline.errors import ConfigError, ExecutionError, ResourceError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.fit import trainer
from paceline.transfer.fit.history import EpochRecord, History, Phase
from paceline.transfer.fit.options import FitOptions
from paceline.transfer.fit.predict import predict
from paceline.transfer.fit.trainer import class_weights, fit
from paceline.transfer.methods import METHODS
from paceline.transfer.pictures.pictures import Pictures
from tests.transfer.fit.made import NUM_CLASSES, PREPROCESSING, adapted, options, pictures


def trained(method: str = "affine", given: FitOptions | None = None, **more: object) -> tuple[AdaptedNet, History]:
    net = adapted(method)
    history = fit(
        net,
        pictures(),
        pictures(seed=1),
        METHODS[method],
        given or options(),
        preprocessing=PREPROCESSING,
        **more,  # type: ignore[arg-type]
    )
    return net, history


@pytest.mark.parametrize("method", METHODS)
def test_each_method_learns(method: str) -> None:
    net, history = trained(method, options(epochs=3, learning_rate=3e-3))
    assert all(np.isfinite(record.train_loss) for record in history.epochs)
    assert not net.training
    assert history.best.val_loss == min(record.val_loss for record in history.epochs)
    logits = predict(net, pictures(seed=1), PREPROCESSING)
    labels = torch.from_numpy(pictures(seed=1).labels)
    assert float(torch.nn.functional.cross_entropy(logits, labels)) == pytest.approx(history.best.val_loss, rel=1e-3)
    assert [record.epoch for record in history.epochs] == list(range(0 if METHODS[method].pretrained else 1, 4))[
        : len(history.epochs)
    ]


def test_the_probe_is_done_after_its_head() -> None:
    _, history = trained("probe")
    assert [record.phase for record in history.epochs] == ["head"]
    assert history.num_trained == 0
    assert history.best.val_top1 > 2 / NUM_CLASSES


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    (one, _), (two, _), (other, _) = trained(), trained(), trained(given=options(seed=1))
    assert all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert not torch.equal(one.head.weight, other.head.weight)


def test_patience_ends_it_with_the_best_weights() -> None:
    _, history = trained("full_finetune", options(epochs=30, patience=1, learning_rate=0.3))
    assert len(history.epochs) < 31
    assert history.best_epoch == len(history.epochs) - 2


def test_a_training_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    net, history = trained(checkpoint=file)
    again, read = trained(checkpoint=file, resume=True)
    assert read == history
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in net.state_dict().items())


def test_resume_without_a_file_begins(tmp_path: Path) -> None:
    _, history = trained(checkpoint=tmp_path / "none", resume=True)
    assert len(history.epochs) == 3


def test_without_resume_a_file_is_replaced(tmp_path: Path) -> None:
    trained(checkpoint=tmp_path / "c")
    _, history = trained("lora", checkpoint=tmp_path / "c")
    assert history.num_trained > 0


def test_another_training_is_not_resumed(tmp_path: Path) -> None:
    trained(checkpoint=tmp_path / "c")
    with pytest.raises(ConfigError, match="method is 'lora', was 'affine'"):
        trained("lora", checkpoint=tmp_path / "c", resume=True)


def test_a_full_disk_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise ResourceError("cannot write c: No space left on device")

    monkeypatch.setattr(trainer, "save_checkpoint", full)
    with pytest.raises(ResourceError, match="No space left"):
        trained(checkpoint=tmp_path / "c")


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match=r"step \d+, at a learning rate of"):
        trained("full_finetune", options(learning_rate=9.9, epochs=60), checkpoint=tmp_path / "c")
    assert (tmp_path / "c").is_file()


class Recorder:
    def __init__(self) -> None:
        self.begun: list[tuple[Phase, int]] = []
        self.steps = 0
        self.records: list[EpochRecord] = []

    def begin(self, phase: Phase, num_steps: int) -> None:
        self.begun.append((phase, num_steps))

    def step(self, loss: float) -> None:
        self.steps += 1

    def end_epoch(self, record: EpochRecord) -> None:
        self.records.append(record)


def test_progress_is_told_of_all_steps() -> None:
    seen = Recorder()
    _, history = trained(given=options(epochs=17, batch_size=2, check_learning_rate=True), progress=seen)
    assert [phase for phase, _ in seen.begun] == ["head", "rate", *["all"] * 17]
    assert seen.steps == sum(num for _, num in seen.begun)
    assert tuple(seen.records) == history.epochs
    assert len(history.trials) == 3


@pytest.mark.parametrize("part", ["train", "val"])
def test_labels_that_do_not_fit_are_refused(part: str) -> None:
    given = {"train": pictures(), "val": pictures(seed=1)}
    held = given[part]
    for labels, images, text in (
        (held.labels + NUM_CLASSES, held.images, "labels of"),
        (held.labels[:0], held.images[:0], "there are no"),
    ):
        given[part] = Pictures(images, labels, held.classes, held.paths[: len(labels)])
        with pytest.raises(ConfigError, match=text):
            fit(adapted(), given["train"], given["val"], METHODS["affine"], options(), preprocessing=PREPROCESSING)


def test_classes_weigh_the_same_together() -> None:
    held = pictures()
    uneven = held.take(np.array([0, 6, 7, 8, 12, 18]))
    weights = class_weights(uneven, NUM_CLASSES)
    sums = torch.bincount(torch.from_numpy(uneven.labels), weights[torch.from_numpy(uneven.labels)])
    assert torch.allclose(sums, sums[0])
    assert float(sums.sum()) == pytest.approx(len(uneven))
    without = class_weights(held.take(np.arange(12)), NUM_CLASSES)  # two classes have no picture
    assert float(without[:2].sum()) == pytest.approx(2.0)


def test_balanced_classes_are_learned_too() -> None:
    _, history = trained(given=options(balance_classes=True))
    assert history.best.val_top1 > 1 / NUM_CLASSES


def test_the_device_is_used_as_it_is_named() -> None:
    with pytest.raises(ConfigError, match="abacus"):
        trained(given=replace(options(), device="abacus"))
