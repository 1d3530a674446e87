from __future__ import annotations

import threading

import pytest
import torch

from paceline.errors import ConfigError, InvalidRequest
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Backbone, build
from paceline.transfer.gates.gate import GATES
from paceline.transfer.tables import AdapterTables
from tests.transfer.gates.test_gates import BACKBONES, backbone, moved

MIXABLE = [name for name in GATES if GATES[name].mixable]


def adapted(base: Backbone, gate: str | None, num_classes: int, seed: int, from_stage: str = "stem") -> AdaptedNet:
    torch.manual_seed(seed)
    return moved(AdaptedNet(base.copied(), num_classes, gate, from_stage)).eval()


def several(base: Backbone) -> dict[str, AdaptedNet]:
    """Adapters of all kinds, with heads of different sizes."""
    second = base.stage_names[2]
    nets = {gate: adapted(base, gate, 2 + place, place) for place, gate in enumerate(MIXABLE)}
    return nets | {"late": adapted(base, "affine", 5, 7, second), "probe": adapted(base, None, 4, 8)}


def filled(base: Backbone, nets: dict[str, AdaptedNet]) -> AdapterTables:
    tables = AdapterTables(base)
    for name, net in nets.items():
        tables.add(name, net)
    return tables


def check(found: list[torch.Tensor], nets: dict[str, AdaptedNet], x: torch.Tensor, names: list[str]) -> None:
    with torch.no_grad():
        for row, name, logits in zip(x, names, found, strict=True):
            expected = nets[name](row[None])[0]
            assert logits.shape == expected.shape
            assert float((logits - expected).abs().max() / expected.abs().max()) <= 1e-5


@pytest.mark.parametrize("kind", BACKBONES)
def test_each_row_is_answered_by_its_own_adapter(kind: str) -> None:
    base = backbone(kind)
    nets = several(base)
    tables = filled(base, nets)
    x, names = torch.randn(9, 1, 64, 64), [*nets, *reversed(nets), "late"]
    check(tables(x, names), nets, x, names)
    check(tables(x[:1], ["probe"]), nets, x[:1], ["probe"])


def test_adapters_come_and_go() -> None:
    base = backbone("bottleneck")
    nets = several(base)
    tables, x = filled(base, nets), torch.randn(2, 1, 32, 32)
    assert list(tables) == list(nets)
    tables.remove("late")
    assert len(tables) == len(nets) - 1
    with pytest.raises(InvalidRequest, match="no adapter 'late'"):
        tables(x, ["late", "out"])
    with pytest.raises(InvalidRequest, match="no adapter 'late'"):
        tables.remove("late")
    nets["out"] = adapted(base, "affine", 6, 11)
    tables.add("out", nets["out"])
    check(tables(x, ["out", "affine"]), nets, x, ["out", "affine"])


def test_later_changes_of_a_net_are_not_seen_and_the_base_stays_as_it_is() -> None:
    base, x = backbone("bottleneck"), torch.randn(2, 1, 32, 32)
    features = base(x)
    net = adapted(base, "affine", 3, 0)
    tables = filled(base, {"a": net})
    before = tables(x, ["a", "a"])
    with torch.no_grad():
        net.head.bias.add_(1)
        moved(net)
    assert all(torch.equal(own, other) for own, other in zip(before, tables(x, ["a", "a"]), strict=True))
    assert torch.equal(base(x), features)


@pytest.mark.parametrize("gate", [name for name in GATES if name not in MIXABLE])
def test_gates_that_cannot_be_mixed_are_refused_by_name(gate: str) -> None:
    base = backbone("bottleneck")
    with pytest.raises(ConfigError, match=f"'mine' has gates of kind '{gate}'"):
        AdapterTables(base).add("mine", adapted(base, gate, 3, 0))


def test_adapters_of_another_base_are_refused() -> None:
    tables = AdapterTables(backbone("bottleneck"))
    other = backbone("bottleneck")
    with torch.no_grad():
        other.units[-1].conv.weight[0, 0] += 1
    for each in (other, backbone("basic")):
        with pytest.raises(ConfigError, match="'mine' belongs to another base"):
            tables.add("mine", adapted(each, "affine", 3, 0))


@pytest.mark.parametrize("names", [[], ["a"], ["a"] * 3])
def test_there_is_one_name_for_each_row(names: list[str]) -> None:
    base = backbone("bottleneck")
    with pytest.raises(InvalidRequest, match="2 rows"):
        filled(base, {"a": adapted(base, "affine", 3, 0)})(torch.randn(2, 1, 32, 32), names)


def test_passes_of_several_threads_do_not_mix() -> None:
    base = backbone("bottleneck")
    nets = several(base)
    tables, x = filled(base, nets), torch.randn(4, 1, 32, 32)
    faults: list[BaseException] = []

    def ask(name: str) -> None:
        try:
            for _ in range(5):
                check(tables(x, [name] * 4), nets, x, [name] * 4)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=ask, args=(name,)) for name in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_all_kernels_lie_channels_last_that_of_a_single_input_too() -> None:
    """Else the stem and its pooling run in the other order of memory, several times as slow."""
    bare = AdapterTables(backbone("bottleneck"))._backbone
    assert {unit.conv.weight.stride(1) for unit in bare.units} == {1}


def test_a_thousand_adapters_of_resnet_50_fit_into_half_a_gigabyte() -> None:
    with torch.device("meta"):
        base = build("resnet50")
        row = sum(unit.conv.out_channels for unit in base.units) * 2
    small = backbone("bottleneck")
    tables = filled(small, {"a": adapted(small, "affine", 20, 0)})
    expected = 2 * sum(unit.conv.out_channels for unit in small.units) + 20 * (small.num_features + 1)
    assert tables.num_bytes() == 4 * expected  # the same sum for ResNet-50 is
    assert 1000 * 4 * (row + 20 * (base.num_features + 1)) <= 0.5e9
