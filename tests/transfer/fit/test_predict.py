from __future__ import annotations

import torch

from paceline.transfer.fit.numerics import Numerics
from paceline.transfer.fit.predict import predict
from tests.transfer.fit.made import NUM_CLASSES, PREPROCESSING, adapted, feed, pictures


def test_logits_come_in_the_order_of_the_pictures() -> None:
    net, given = adapted().train(), pictures(40)  # more than one batch
    logits = predict(net, given, PREPROCESSING)
    assert logits.shape == (len(given), NUM_CLASSES)
    assert not net.training
    one = predict(net, given.take(torch.tensor([150]).numpy()), PREPROCESSING)
    torch.testing.assert_close(one[0], logits[150])


def test_numerics_decide_the_precision() -> None:
    net, given = adapted(), pictures()
    exact, rough = predict(net, given, PREPROCESSING), predict(net, given, PREPROCESSING, Numerics("cpu", "bfloat16"))
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(exact, rough, atol=0.1, rtol=0.1)


def test_the_logits_can_be_learned_from() -> None:
    assert not predict(adapted(), feed().val, PREPROCESSING).is_inference()
