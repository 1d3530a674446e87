from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import f_oneway
from torch.nn import functional

from paceline.errors import ConfigError, ExecutionError
from paceline.transfer.criteria import CRITERIA, gate_gradients
from paceline.transfer.rank import rank
from paceline.transfer.tap import tapped
from tests.transfer.small_net import batches, small_net


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("gate", ["affine", "out", "lora", "dynamic", None])
def test_every_channel_gets_a_score_and_the_network_is_left_alone(criterion: str, gate: str | None) -> None:
    if criterion == "magnitude" and gate in ("lora", None):
        pytest.skip("refused, see below")
    net = small_net(gate)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    ranking = rank(net, batches(), criterion)
    assert {unit: len(scores) for unit, scores in ranking.scores.items()} == {
        unit.name: unit.conv.out_channels for unit in net.backbone.units
    }
    assert list(ranking.scores) == [unit.name for unit in net.backbone.units]
    assert sum(score for _, score in ranking.ordered()) > 0
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_gradients_are_those_of_each_picture_alone() -> None:
    net = small_net()
    ((x, labels),) = batches(3, 3)
    (gradients,) = gate_gradients(net, [(x, labels)])
    for row in range(3):
        (alone,) = gate_gradients(net, [(x[row : row + 1], labels[row : row + 1])])
        for unit, gradient in gradients.items():
            torch.testing.assert_close(gradient[row], alone[unit][0], rtol=1e-4, atol=1e-6)


def test_taylor_is_the_slope_of_the_loss_by_the_gate() -> None:
    """Against a finite difference through the gate's own parameters: an affine gate without shift is the multiplier itself."""
    net = small_net()
    gate = net.gates["layer2/0/conv2"].double()
    net = net.double()
    with torch.no_grad():
        gate.shift.zero_()
    ((x, labels),) = batches(1, 1)
    x = x.double()
    score = rank(net, [(x, labels)]).scores["layer2.0.conv2"][5]
    step = 1e-6
    with torch.no_grad():
        losses = []
        for factor in (1 + step, 1 - step):
            whole = gate.scale_delta[5].clone()
            gate.scale_delta[5] = (1 + whole) * factor - 1
            losses.append(float(functional.cross_entropy(net(x), labels)))
            gate.scale_delta[5] = whole
    assert score == pytest.approx(abs(losses[0] - losses[1]) / (2 * step), rel=1e-3, abs=1e-9)


def test_magnitude_and_gamma_are_read_from_the_tensors() -> None:
    net = small_net()
    scale = 1 + net.gates["conv1"].scale_delta.detach().double()
    gamma = net.backbone.units[0].frozen_norm.weight.double()
    assert rank(net, batches(), "magnitude").scores["conv1"] == pytest.approx(scale.abs().tolist())
    assert rank(net, batches(), "gamma").scores["conv1"] == pytest.approx((scale * gamma).abs().tolist())


def test_a_dead_channel_is_worth_nothing() -> None:
    net = small_net()
    with torch.no_grad():
        net.gates["layer1/0/conv1"].scale_delta[2] = -1.0
        net.gates["layer1/0/conv1"].shift[2] = -1.0  # relu(-1) is 0
    for criterion in ("magnitude", "gamma", "activation", "taylor", "fisher"):
        assert rank(net, batches(), criterion).scores["layer1.0.conv1"][2] == 0.0


def test_scores_do_not_depend_on_how_pictures_are_cut_into_batches() -> None:
    net = small_net()
    for criterion in ("taylor", "fisher", "activation"):
        one, other = (rank(net, batches(12, size), criterion).scores["layer3.0.conv2"] for size in (12, 3))
        assert one == pytest.approx(other, rel=1e-4)


def test_random_is_the_same_for_the_same_seed() -> None:
    net = small_net()
    assert rank(net, batches(), "random", seed=1) == rank(net, batches(), "random", seed=1)
    assert rank(net, batches(), "random", seed=1) != rank(net, batches(), "random", seed=2)


def test_what_says_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="gates 'lora', which multiply no channel"):
        rank(small_net("lora"), batches(), "magnitude")
    with pytest.raises(ConfigError, match="no gates"):
        rank(small_net(None), batches(), "magnitude")
    with pytest.raises(ConfigError, match="no picture"):
        rank(small_net(), [], "taylor")
    with pytest.raises(ConfigError, match="unknown criterion 'tailor'; did you mean 'taylor'"):
        rank(small_net(), batches(), "tailor")


def test_a_network_of_nans_is_told() -> None:
    net = small_net()
    with torch.no_grad():
        net.head.weight.fill_(torch.nan)
    with pytest.raises(ExecutionError, match="not finite"):
        rank(net, batches())


def test_separation_is_the_f_of_an_analysis_of_variance() -> None:
    net, found = small_net(), []
    given = batches(24, 8)
    ranking = rank(net, given, "separation")
    with torch.no_grad(), tapped(net.backbone, {"layer1.0.conv2": lambda y: found.append(y.clone()) or y}):
        for x, _ in given:
            net(x)
    values = torch.cat(found).clamp(min=0).mean((2, 3)).double().numpy()
    labels = torch.cat([labels for _, labels in given]).numpy()
    wanted = f_oneway(*(values[labels == label] for label in np.unique(labels))).statistic
    np.testing.assert_allclose(ranking.scores["layer1.0.conv2"], wanted, rtol=1e-5)


def test_separation_finds_the_channel_that_tells_classes_apart() -> None:
    net = small_net()
    with torch.no_grad():
        net.backbone.units[0].conv.weight[3:].zero_()  # dead channels tell nothing
    scores = rank(net, batches(24, 8), "separation").scores[net.backbone.units[0].name]
    assert min(scores[:3]) > 0
    assert set(scores[3:]) == {0.0}


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_separation_needs_classes_and_more_pictures_than_those(labels: list[int]) -> None:
    ((x, _),) = batches(3, 3)
    with pytest.raises(ConfigError, match="two classes and more pictures than classes"):
        rank(small_net(), [(x, torch.tensor(labels))], "separation")
