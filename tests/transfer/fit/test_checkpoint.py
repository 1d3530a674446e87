from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from paceline.errors import ConfigError, ModelError, ResourceError
from paceline.transfer.fit.checkpoint import (
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from paceline.transfer.fit.state import Identity, Standing
from paceline.transfer.methods import METHODS
from tests.transfer.fit.made import adapted, learner, options, pictures


def identity(**given: object) -> Identity:
    return Identity.of(adapted(), METHODS["affine"], pictures(), pictures(seed=1), options(**given))


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    parts = {"net": {"head.weight": torch.ones(2, 3)}, "optimizer": {"0/step": torch.tensor(3.0)}}
    save_checkpoint(file, identity(), Standing(epoch=4, batch=2), parts)
    held = load_checkpoint(file, identity())
    assert held.standing == Standing(epoch=4, batch=2)
    assert held.part("net").keys() == {"head.weight"}
    assert held.part("best") == {}
    assert float(held.part("optimizer")["0/step"]) == 3.0


def test_another_training_is_refused_by_name(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", identity(), Standing(), {})
    with pytest.raises(ConfigError, match="epochs is 9, was 2"):
        load_checkpoint(tmp_path / "c", identity(epochs=9))


def _cut_short(file: Path) -> None:
    save_checkpoint(file, identity(), Standing(), {"net": {"w": torch.ones(100)}})
    file.write_bytes(file.read_bytes()[:-50])


def _of_something_else(file: Path) -> None:
    save_file({"w": torch.ones(1)}, file)


def _of_another_shape(file: Path) -> None:
    save_file({"w": torch.ones(1)}, file, {"version": "1", "identity": "{}", "standing": "[]"})


@pytest.mark.parametrize("spoil", [_cut_short, _of_something_else, _of_another_shape, lambda file: file.mkdir()])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, spoil: object) -> None:
    file = tmp_path / "c.safetensors"
    spoil(file)  # type: ignore[operator]
    with pytest.raises(ModelError, match=r"c\.safetensors: not a checkpoint"):
        load_checkpoint(file, identity())


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.safetensors"
    save_checkpoint(file, identity(), Standing(epoch=1), {})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="No space left"):
        save_checkpoint(file, identity(), Standing(epoch=2), {})
    monkeypatch.undo()
    assert load_checkpoint(file, identity()).standing.epoch == 1
    assert list(tmp_path.iterdir()) == [file]


def test_an_optimiser_goes_on_as_it_was() -> None:
    one, two = learner(), learner()
    (first, labels), (second, more_labels), *_ = one.feed.batches(1)
    one.step(first, labels, 1e-2, 0)
    two.step(first, labels, 1e-2, 0)
    held = {name: tensor.clone() for name, tensor in optimizer_tensors(two.optimizer).items()}
    two.forget()
    restore_optimizer(two.optimizer, held)
    one.step(second, more_labels, 1e-2, 1)
    two.step(second, more_labels, 1e-2, 1)
    assert all(torch.equal(tensor, two.tensors[name]) for name, tensor in one.tensors.items())
