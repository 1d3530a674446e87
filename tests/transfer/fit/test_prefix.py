from __future__ import annotations

import pytest
import torch

from paceline.transfer.fit.feed import PictureFeed
from paceline.transfer.fit.numerics import Numerics
from paceline.transfer.fit.options import FitOptions
from paceline.transfer.fit.prefix import PrefixFeed, make_feed
from tests.transfer.fit.made import PREPROCESSING, adapted, options, pictures


def made(given: FitOptions, from_stage: str = "layer3") -> PrefixFeed | PictureFeed:
    found = make_feed(
        adapted(from_stage=from_stage), pictures(), pictures(seed=1), PREPROCESSING, given, Numerics("cpu", "float32")
    )
    assert isinstance(found, PrefixFeed | PictureFeed)
    return found


def test_kept_activations_give_the_same_logits_as_pictures() -> None:
    net = adapted(from_stage="layer3").eval()
    kept, pictured = made(options(augment=False)), made(options(augment=False, cached_views=0))
    assert isinstance(kept, PrefixFeed)
    assert isinstance(pictured, PictureFeed)
    for ours, theirs in ((kept.batches(1), pictured.batches(1)), (kept.held_out(), pictured.held_out())):
        for (inputs, labels), (images, labels_then) in zip(ours, theirs, strict=True):
            assert torch.equal(labels, labels_then)
            torch.testing.assert_close(kept.features(net, inputs), pictured.features(net, images))


def test_gates_behind_the_prefix_learn_from_it() -> None:
    net = adapted(from_stage="layer4")
    feed = made(options(), "layer4")
    inputs, _ = next(feed.batches(1))
    feed.features(net, inputs).sum().backward()
    assert all(parameter.grad is not None for parameter in net.gates.parameters())


def test_views_come_in_turn() -> None:
    feed = made(options(cached_views=2, batch_size=100))

    def of_epoch(epoch: int) -> torch.Tensor:
        inputs, labels = next(feed.batches(epoch))
        return inputs[labels == 0].sum((0, 2, 3))

    torch.testing.assert_close(of_epoch(1), of_epoch(3))
    assert not torch.equal(of_epoch(1), of_epoch(2))


def test_the_rest_of_an_epoch_is_what_it_would_have_been() -> None:
    whole = [inputs for inputs, _ in made(options()).batches(2)]
    rest = [inputs for inputs, _ in made(options()).batches(2, first=2)]
    assert torch.equal(rest[0], whole[2])


@pytest.mark.parametrize("given", [options(cached_views=0), options(cache_mb=0)])
def test_without_room_there_are_pictures(given: FitOptions) -> None:
    assert isinstance(made(given), PictureFeed)


def test_with_gates_everywhere_there_is_nothing_to_keep() -> None:
    assert isinstance(made(options(), "stem"), PictureFeed)
