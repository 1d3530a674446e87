from __future__ import annotations

import pytest
import torch

from paceline.errors import ConfigError
from paceline.multiplex.architectures import ARCHITECTURES, adapted, build, resnet
from paceline.multiplex.capture import capture
from paceline.multiplex.op import family_key

CASES = {
    "mlp": ({"width": 8, "num_outputs": 3}, (2, 8), (2, 3)),
    "lstm": ({"width": 8, "num_layers": 2, "num_inputs": 4}, (2, 5, 4), (2, 8)),
    "encoder": ({"width": 8, "num_heads": 2, "num_blocks": 2}, (2, 5, 8), (2, 5, 8)),
    "resnet": ({"channels": (4, 8), "num_outputs": 3}, (2, 3, 8, 8), (2, 3)),
    "adapted": ({"base_options": {"channels": (4, 8)}, "rank": 2}, (2, 3, 8, 8), (2, 10)),
    "adapted_backbone": ({"arch": "glyphnet", "width": 4, "num_classes": 3}, (2, 3, 32, 32), (2, 3)),
}


def test_every_built_in_has_a_case() -> None:
    assert set(ARCHITECTURES) == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_architecture_gives_the_shape_it_says_and_can_be_captured(name: str) -> None:
    options, shape, expected = CASES[name]
    torch.manual_seed(0)
    first, second = build(name, **options), build(name, **options)
    assert first(torch.randn(shape)).shape == expected
    captured = capture(first, (torch.randn(shape),))
    twin = captured.like(second, (torch.randn(shape),))
    assert twin is not None
    assert family_key(twin.graph) == family_key(captured.graph)


@pytest.mark.parametrize("base", ["mlp", "lstm", "encoder"])
def test_adapters_fit_any_base(base: str) -> None:
    network = build("adapted", base=base, base_options={"width": 8}, rank=2)
    x = torch.randn((2, 8) if base == "mlp" else (2, 5, 8))
    assert network(x).shape == network.base(x).shape
    assert not torch.equal(network(x), network.base(x))


def test_adapters_share_their_base_and_can_be_few() -> None:
    base = resnet(channels=(4, 8, 16)).eval()
    tenants = [adapted(base=base, rank=2, num_adapted=1).eval() for _ in range(2)]
    own = [sum(p.numel() for name, p in tenant.named_parameters() if name.startswith("adapters")) for tenant in tenants]
    assert own == [2 * 2 * 16] * 2
    first = capture(tenants[0], (torch.randn(1, 3, 8, 8),))
    second = first.like(tenants[1], (torch.randn(1, 3, 8, 8),))
    assert second is not None
    apart = {name for name in first.weights if first.weights[name].data_ptr() != second.weights[name].data_ptr()}
    assert apart == {"adapters.2.a.weight", "adapters.2.b.weight"}


def test_bottlenecks_with_a_large_stem_are_resnet_50() -> None:
    with torch.device("meta"):
        network = build(
            "resnet", channels=(64, 128, 256, 512), num_blocks=(3, 4, 6, 3), block="bottleneck", stem="large",
            num_outputs=1000,
        )  # fmt: skip
    assert sum(parameter.numel() for parameter in network.parameters()) == 25_557_032


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("mpl", {}, "did you mean 'mlp'"),
        ("mlp", {"widht": 3}, "widht"),
        ("mlp", {"width": "3"}, "cannot be made"),
        ("encoder", {"width": 6, "num_heads": 4}, "multiple of num_heads"),
        ("resnet", {"block": "other"}, "basic or bottleneck"),
        ("resnet", {"num_blocks": (1,)}, "cannot be made"),
        ("adapted", {"base": "adapted"}, "stem, blocks and head"),
    ],
)
def test_wrong_options_are_named(name: str, options: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        build(name, **options)
