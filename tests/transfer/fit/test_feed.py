from __future__ import annotations

import numpy as np
import torch

from tests.transfer.fit.made import PREPROCESSING, feed, options


def test_an_epoch_holds_each_picture_once() -> None:
    made = feed(options(batch_size=7))
    labels = torch.cat([labels for _, labels in made.batches(1)])
    assert sorted(labels.tolist()) == sorted(made.train.labels.tolist())
    assert made.num_batches == 4


def test_the_rest_of_an_epoch_is_what_it_would_have_been() -> None:
    whole = list(feed().batches(3))
    rest = list(feed().batches(3, first=1))
    assert len(rest) == len(whole) - 1
    for (inputs, labels), (inputs_then, labels_then) in zip(rest, whole[1:], strict=True):
        assert torch.equal(inputs, inputs_then)
        assert torch.equal(labels, labels_then)


def test_behind_the_last_batch_there_is_none() -> None:
    made = feed()
    assert list(made.batches(1, first=made.num_batches)) == []


def test_epochs_and_seeds_differ() -> None:
    first = next(feed().batches(1))[0]
    assert not torch.equal(first, next(feed().batches(2))[0])
    assert not torch.equal(first, next(feed(options(seed=1)).batches(1))[0])


def test_pictures_vary_only_if_they_may() -> None:
    rows = np.arange(4)
    varied, plain = feed(), feed(options(augment=False))
    assert not torch.equal(varied.varied(rows, 1, 0), varied.varied(rows, 1, 1))
    assert torch.equal(plain.varied(rows, 1, 0), plain.varied(rows, 2, 5))


def test_inputs_have_the_networks_size_and_lie_channels_last() -> None:
    inputs, _ = next(feed().batches(1))
    assert inputs.shape == (8, 1, PREPROCESSING.size, PREPROCESSING.size)
    assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_some_validation_pictures() -> None:
    made = feed()
    ((inputs, labels),) = made.held_out(np.array([3, 20]))
    assert torch.equal(inputs, made.plain_val(np.array([3, 20])))
    assert labels.tolist() == made.val.labels[[3, 20]].tolist()
