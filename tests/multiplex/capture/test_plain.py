from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from paceline.multiplex.capture.plain import attend, plain, state_of


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 6, "vdim": 4}, {"add_bias_kv": True}])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_its_parts_equals_the_module(batch_first: bool, options: dict, masked: bool) -> None:
    module = nn.MultiheadAttention(8, 2, batch_first=batch_first, **options).eval()
    inputs = [
        torch.randn(3, 5, 8),
        torch.randn(3, 4, options.get("kdim", 8)),
        torch.randn(3, 4, options.get("vdim", 8)),
    ]
    inputs = inputs if batch_first else [each.transpose(0, 1) for each in inputs]
    padding = torch.zeros(3, 4, dtype=torch.bool)
    padding[0, 2:] = True
    masks = {"key_padding_mask": padding, "attn_mask": torch.ones(5, 4).triu(2).bool()} if masked else {}
    for average in (True, False):
        expected = module(*inputs, **masks, average_attn_weights=average)
        torch.testing.assert_close(attend(module, *inputs, **masks, average_attn_weights=average), expected)


def test_attention_of_one_unbatched_sequence_is_left_to_the_module() -> None:
    module = nn.MultiheadAttention(8, 2).eval()
    x = torch.randn(5, 8)
    torch.testing.assert_close(attend(module, x, x, x), module(x, x, x))


def test_everything_is_put_back() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16)
    model.self_attn.forward = own = lambda *_, **__: None  # type: ignore[method-assign]
    other = nn.MultiheadAttention(8, 2)
    filters = list(warnings.filters)
    seen = []

    def fail() -> None:
        with plain(nn.ModuleList([model, other])):
            seen.append(("forward" in vars(other), torch.backends.mha.get_fastpath_enabled(), torch.is_grad_enabled()))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == [(True, False, False)]
    assert model.self_attn.forward is own
    assert "forward" not in vars(other)
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.is_grad_enabled()
    assert warnings.filters == filters


def test_state_has_every_name_of_a_tensor() -> None:
    layer = nn.Linear(2, 2)
    assert state_of(nn.ModuleDict({"a": layer, "b": layer})).keys() == {"a.weight", "a.bias", "b.weight", "b.bias"}
