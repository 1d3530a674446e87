from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from paceline.cli.serve_adapters import host_adapters, joined
from paceline.errors import ConfigError, ModelError
from paceline.multiplex import Runtime
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.adapter import AdapterInfo, save_adapter
from paceline.transfer.backbone.load import Base, load_backbone

CLASSES = ("serif", "sans", "mono")


@pytest.fixture(scope="module")
def base() -> Base:
    return load_backbone()


def adapter(base: Base, seed: int, gate: str = "affine") -> AdaptedNet:
    """Gates that do something, as after a training."""
    torch.manual_seed(seed)
    net = AdaptedNet(base.backbone.copied(), len(CLASSES), gate).eval()
    for parameter in net.gates.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net


def save(folder: Path, base: Base, net: AdaptedNet) -> None:
    info = AdapterInfo(
        arch=base.backbone.arch,
        base_name=base.name,
        base_sha256=base.sha256,
        gate=net.gate,
        from_stage=net.from_stage,
        preprocessing=base.preprocessing,
        classes=CLASSES,
    )
    save_adapter(folder, net, info, dtype="float32")


def test_adapters_become_models_that_share_their_convolutions(base: Base, tmp_path: Path) -> None:
    nets = {f"tenant-{seed}": adapter(base, seed) for seed in range(3)}
    for name, net in nets.items():
        save(tmp_path / "adapters" / name, base, net)
    made = tmp_path / "made"
    made.mkdir()
    folders = host_adapters(str(tmp_path / "adapters"), None, made)
    own = (folders["tenant-0"] / "weights.safetensors").stat().st_size
    assert own < 0.1 * (made / "base.safetensors").stat().st_size
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 1, 64, 64), np.float32))
    with Runtime() as runtime:
        for name, folder in folders.items():
            runtime.load(name, folder)
        with torch.inference_mode():
            for name, net in nets.items():
                torch.testing.assert_close(runtime.infer_sync(name, x), net(x), rtol=1e-4, atol=1e-4)
        assert len({runtime.load(f"again-{name}", folder).family for name, folder in folders.items()}) == 1


def test_what_is_no_adapter_is_refused(base: Base, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--adapters: there is no folder"):
        host_adapters(str(tmp_path / "missing"), None, tmp_path)
    with pytest.raises(ModelError, match="holds no adapters"):
        host_adapters(str(tmp_path), None, tmp_path)
    save(tmp_path / "full", base, adapter(base, 0, gate="full"))
    with pytest.raises(ConfigError, match=r"--adapters: .*full.* fold the network"):
        host_adapters(str(tmp_path), None, tmp_path / "full")


def test_a_name_can_be_used_once() -> None:
    with pytest.raises(ConfigError, match="both hold 'a'"):
        joined({"a": Path("x")}, {"a": Path("y")})
