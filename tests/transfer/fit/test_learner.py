from __future__ import annotations

import numpy as np
import pytest
import torch

from paceline.errors import ExecutionError
from paceline.transfer.fit.calibration import judged
from tests.transfer.fit.made import learner, options


@pytest.mark.parametrize("method", ["affine", "lora", "full_finetune", "scratch", "probe"])
def test_steps_on_one_batch_lower_its_loss_and_touch_only_what_is_learned(method: str) -> None:
    made = learner(method)
    frozen = {name: tensor.clone() for name, tensor in made.net.state_dict().items() if name not in made.tensors}
    inputs, labels = next(made.feed.batches(1))
    losses = [made.step(inputs, labels, 1e-2, number) for number in range(12)]
    assert losses[-1] < losses[0]
    for name, tensor in frozen.items():
        assert torch.equal(tensor, made.net.state_dict()[name]), name


def test_no_number_is_an_error_that_changes_nothing() -> None:
    made = learner()
    inputs, labels = next(made.feed.batches(1))
    before = {name: tensor.clone() for name, tensor in made.tensors.items()}
    with pytest.raises(ExecutionError, match=r"nan in step 7, at a learning rate of 0.5.*lower"):
        made.step(inputs * float("nan"), labels, 0.5, 7)
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.tensors.items())


def test_judging_is_that_of_the_logits() -> None:
    made = learner()
    found = made.judge()
    inputs = made.feed.plain_val(np.arange(24))  # type: ignore[attr-defined]
    labels = torch.from_numpy(made.feed.val.labels)  # type: ignore[attr-defined]
    expected = judged(made.net.eval()(inputs).detach(), labels)
    assert found == pytest.approx(expected, rel=1e-4)
    assert made.judge(np.arange(5)).loss != found.loss


def test_smoothing_changes_the_loss() -> None:
    plain, smooth = learner(), learner(given=options(label_smoothing=0.2))
    inputs, labels = next(plain.feed.batches(1))
    assert plain.step(inputs, labels, 1e-3, 0) != smooth.step(inputs, labels, 1e-3, 0)
