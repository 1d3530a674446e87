"""The hosted form is served by ``paceline.multiplex``, which this part may not import but its tests may."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from paceline.errors import ConfigError
from paceline.multiplex.coalesced import coalesce
from paceline.multiplex.folder import load_model, save_architecture
from paceline.multiplex.shared import SharedFiles
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Backbone, build
from paceline.transfer.gates.gate import GATES
from paceline.transfer.hosted import AdaptedForServing, adapted_backbone
from tests.transfer.gates.test_gates import BACKBONES, backbone, moved


def adapted(base: Backbone, seed: int, gate: str | None = "affine") -> AdaptedNet:
    torch.manual_seed(seed)
    return moved(AdaptedNet(base.copied(), 3, gate)).eval()


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("gate", [None, "affine", "out"])
def test_it_gives_the_same_answers_over_the_same_convolutions(kind: str, gate: str | None) -> None:
    base = backbone(kind)
    net, x = adapted(base, 1, gate), torch.randn(3, 1, 64, 64)
    hosted = AdaptedForServing(net)
    expected = net(x).detach()
    assert float((hosted(x) - expected).abs().max() / expected.abs().max()) <= 1e-5
    assert torch.equal(net(x), expected)
    own = dict(hosted.named_parameters())
    assert all(own[f"backbone.{unit.name}.weight"] is unit.conv.weight for unit in base.units)
    names = [f"backbone.{unit.name}.weight" for unit in base.units] + ["head.weight", "head.bias"]
    channels = [f"channels.{unit.name.replace('.', '/')}.{part}" for unit in base.units for part in ("scale", "shift")]
    assert set(hosted.state_dict()) == {*names, *channels}


@pytest.mark.parametrize("gate", [name for name in GATES if not GATES[name].mixable])
def test_gates_that_change_convolutions_are_refused(gate: str) -> None:
    with pytest.raises(ConfigError, match=f"'{gate}'.*fold the network"):
        AdaptedForServing(adapted(backbone("basic"), 0, gate))


def test_many_of_them_run_together_and_share_all_convolutions() -> None:
    base = backbone("bottleneck")
    nets = [adapted(base, seed) for seed in range(8)]
    inputs = [torch.randn(2, 1, 32, 32) for _ in nets]
    together = coalesce([AdaptedForServing(net) for net in nets], (inputs[0],))
    for net, x, found in zip(nets, inputs, together(inputs), strict=True):
        expected = net(x).detach()
        assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-5
    (report,) = together.explain()
    assert report.models == tuple(range(8))
    assert report.num_shared == len(base.units)
    assert report.num_weights == 3 * len(base.units) + 2
    assert (report.num_loop_ops, report.reasons) == (0, ())


def test_it_is_an_architecture_of_model_folders(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = AdaptedNet(build("glyphnet", num_inputs=1, width=4), 3)
    hosted, x = AdaptedForServing(moved(net)), torch.randn(2, 1, 32, 32)
    options = {"arch": "glyphnet", "num_classes": 3, "num_inputs": 1, "width": 4}
    save_architecture(tmp_path, "adapted_backbone", options, hosted, (x,), slo_s=0.1, max_rows=8)
    loaded = load_model(tmp_path, SharedFiles())
    assert len(loaded.weights) == len(hosted.state_dict())
    made = adapted_backbone(**options)  # type: ignore[arg-type]
    made.load_state_dict(hosted.state_dict())
    assert torch.equal(made(x), hosted(x))
