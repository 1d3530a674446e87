"""Models for tests of capture: those it must take, and those it must refuse, with the reason it gives."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn import functional

Case: TypeAlias = tuple[nn.Module, tuple[torch.Tensor, ...]]

Pair = namedtuple("Pair", "first second")


class Written(nn.Module):
    """A model by one function of itself and its inputs; ``parts`` are its modules, parameters and buffers."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module | torch.Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, (nn.Module, nn.Parameter)):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self, *inputs)


def of(function: Callable[..., Any], *shape: int, **parts: nn.Module | torch.Tensor) -> Callable[[], Case]:
    """A case of one random input, [2, 5, 8] unless ``shape`` says otherwise."""
    return lambda: (Written(function, **parts).eval(), (torch.randn(shape or (2, 5, 8)),))


def mlp() -> Case:
    layers = (nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU(inplace=True), nn.Dropout(0.1), nn.Linear(8, 3))
    return nn.Sequential(*layers).eval(), (torch.randn(2, 8),)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.layers = kind(8, 6, **options)  # type: ignore[call-arg]
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        front = self.layers.batch_first
        outputs, states = self.layers(x if front else x.transpose(0, 1))
        states = states[0] if isinstance(states, tuple) else states
        ends = states.permute(1, 0, 2).reshape(len(x), -1)
        return self.head(states[-1]), outputs if front else outputs.transpose(0, 1), ends


def recurrent(kind: type[nn.RNNBase], **options: Any) -> Callable[[], Case]:
    return lambda: (Recurrent(kind, **options).eval(), (torch.randn(2, 5, 8),))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        x = x + functional.relu_(self.norm2(self.conv2(x)))
        x = torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1)
        return {"logits": self.head(x), "features": x}


def residual() -> Case:
    model = Residual().eval()
    for norm in (model.norm1, model.norm2):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return model, (torch.randn(2, 3, 8, 8),)


class Encoder(nn.Module):
    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.places = nn.Parameter(torch.randn((1, 5, 8) if batch_first else (5, 1, 8)))
        self.front = batch_first

    def forward(self, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(5)
        x = (x if self.front else x.transpose(0, 1)) + self.places
        x = self.layers(x, mask=mask, src_key_padding_mask=torch.zeros(()).masked_fill(padding, -torch.inf))
        return x.mean(1 if self.front else 0)


def encoder(*, batch_first: bool) -> Callable[[], Case]:
    padding = torch.tensor([[False, False, False, False, False], [False, False, False, True, True]])
    return lambda: (Encoder(batch_first=batch_first).eval(), (torch.randn(2, 5, 8), padding))


def decoder() -> Case:
    def run(model: Written, x: torch.Tensor, memory: torch.Tensor) -> Any:
        mixed, shares = model.attention(x, memory, memory)
        return model.layer(x, memory) + mixed, shares

    parts = {
        "layer": nn.TransformerDecoderLayer(8, 2, 16, batch_first=True),
        "attention": nn.MultiheadAttention(8, 2, batch_first=True),
    }
    return Written(run, **parts).eval(), (torch.randn(2, 5, 8), torch.randn(2, 3, 8))


def attention(model: Written, x: torch.Tensor) -> torch.Tensor:
    """As vision transformers write it: the rows are moved aside for a while."""
    rows, steps, width = x.shape
    query, key, value = model.into(x).reshape(rows, steps, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
    shares = (query * 0.5 @ key.transpose(-2, -1)).softmax(-1)
    return model.out((shares @ value).transpose(1, 2).reshape(rows, steps, width))


def einsums(model: Written, x: torch.Tensor) -> torch.Tensor:
    scores = torch.einsum("bqd,bkd->bqk", x, x)
    return torch.einsum("bqk,bkd->bqd", scores.softmax(-1), x) + torch.einsum("btc,kc->btk", x, model.weight)


def shared_layer() -> Case:
    layer = nn.Linear(8, 8)
    twice = Written(
        lambda model, x: model.one(x) + functional.linear(model.two(x), model.one.weight), one=layer, two=layer
    )
    return twice.eval(), (torch.randn(2, 8),)


def written_in_part(model: Written, x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    y[:, 0] = 0
    return y


TAKEN: dict[str, Callable[[], Case]] = {
    "mlp": mlp,
    "residual": residual,
    "lstm": recurrent(nn.LSTM, batch_first=True),
    "lstm of two layers": recurrent(nn.LSTM, batch_first=True, num_layers=2, dropout=0.1),
    "lstm both ways": recurrent(nn.LSTM, batch_first=True, num_layers=2, bidirectional=True),
    "gru with steps in front": recurrent(nn.GRU, num_layers=2),
    "rnn without biases": recurrent(nn.RNN, bias=False),
    "encoder": encoder(batch_first=True),
    "encoder with steps in front": encoder(batch_first=False),
    "decoder": decoder,
    "attention by hand": of(attention, into=nn.Linear(8, 24), out=nn.Linear(8, 8)),
    "einsums": of(einsums, weight=nn.Parameter(torch.randn(8, 8))),
    "adapter": of(lambda model, x: x + model.b(model.a(x)), a=nn.Linear(8, 2, bias=False), b=nn.Linear(2, 8, bias=False)),
    "shared layer": shared_layer,
    "embedding": lambda: (
        nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(20, 3)).eval(), (torch.randint(0, 10, (2, 5)),)
    ),
    "class token": of(lambda model, x: torch.cat([model.token.expand(len(x), -1, -1), x], 1), token=nn.Parameter(torch.randn(1, 1, 8))),
    "matrices": of(lambda model, x: x @ model.one + x @ model.two.t(), one=nn.Parameter(torch.randn(8, 8)), two=nn.Parameter(torch.randn(8, 8))),
    "rows as numbers": of(lambda model, x: x.view(int(x.shape[0]), -1).view(len(x), 4, 10)),
    "rows among the steps": of(lambda model, x: model.layer(x.reshape(-1, 8)).view(-1, 5, 3), layer=nn.Linear(8, 3)),
    "fixed mask": of(lambda model, x: x.masked_fill(torch.ones(5, 8).tril().bool(), float("-inf")).softmax(-1).nan_to_num()),
    "fixed indices": of(lambda model, x: x[:, [0, -1]]),
    "written in place": of(lambda model, x: functional.relu_(x * 2).add_(1).mul_(x)),
    "written in part": of(written_in_part),
    "named results": of(lambda model, x: Pair(x * 2, x + 1)),
    "input as result": of(lambda model, x: (x, x)),
    "norms of weights": lambda: (nn.utils.parametrizations.weight_norm(nn.Linear(8, 3)).eval(), (torch.randn(2, 8),)),
    "batch norm after nothing": lambda: (nn.Sequential(nn.BatchNorm1d(5), nn.Conv1d(5, 4, 3, padding="same"), nn.MaxPool1d(2)).eval(), (torch.randn(2, 5, 8),)),
    "other layers": lambda: (nn.Sequential(nn.ConvTranspose2d(3, 4, 2, 2), nn.GroupNorm(2, 4), nn.Hardswish(), nn.Upsample(scale_factor=2), nn.InstanceNorm2d(4), nn.GELU(), nn.AvgPool2d(2)).eval(), (torch.randn(2, 3, 4, 4),)),
    "pointwise": of(lambda model, x: torch.where(x > 0, x, -1.0).clamp(max=2).std(-1, keepdim=True) + functional.glu(functional.pad(x, (1, 1)))),
}  # fmt: skip

REFUSED: dict[str, tuple[Callable[[], Case], str]] = {
    "control flow": (of(lambda model, x: x * 2 if x.sum() > 0 else x), "control flow depends on the numbers"),
    "read back": (of(lambda model, x: x * float(x.sum())), "input"),
    "random numbers": (of(lambda model, x: x + torch.rand_like(x)), "random numbers"),
    "dropout on": (lambda: (nn.Dropout(0.5), (torch.randn(2, 8),)), "dropout is on"),
    "batch statistics": (lambda: (nn.BatchNorm1d(8), (torch.randn(2, 8),)), "call eval"),
    "batch statistics in eval": (
        lambda: (nn.BatchNorm1d(8, track_running_stats=False).eval(), (torch.randn(2, 8),)), "statistics of the batch",
    ),
    "buffer": (of(lambda model, x: x + model.count.add_(1), count=torch.zeros(8)), "writes to a buffer"),
    "input written": (of(lambda model, x: x.mul_(2)), "writes to its input"),
    "fixed rows": (of(lambda model, x: x.view(2, -1)), "one number of rows only"),
    "rows counted": (of(lambda model, x: x / len(x)), "number of rows as a number"),
    "rows by size": (of(lambda model, x: x * 2 if len(x) > 2 else x), "some numbers of rows in their own way"),
    "one row alone": (of(lambda model, x: x.squeeze(), 2, 8), "on 1 row"),
    "mean of rows": (of(lambda model, x: x - x.mean(0)), "mix"),
    "softmax of rows": (of(lambda model, x: x.softmax(0)), "mix"),
    "rows turned": (of(lambda model, x: x.flip(0)), "mix"),
    "rows added up": (of(lambda model, x: x.cumsum(0)), "mix"),
    "rows sorted": (of(lambda model, x: x.sort(0)[0]), "mix"),
    "all against all": (of(lambda model, x: x[:, 0] @ x[:, 0].t()), "rows in different dimensions"),
    "attention to rows": (of(lambda model, x: functional.scaled_dot_product_attention(x, x, x), 2, 8), "mix"),
    "some rows": (of(lambda model, x: x - x[:1]), "picks some rows"),
    "everything summed": (of(lambda model, x: x + x.sum()), "aten.sum.default"),
    "rows elsewhere": (of(lambda model, x: x.transpose(0, 1)), "rows in dimension 1"),
    "constant": (of(lambda model, x: (x, torch.ones(3))), "returns a constant"),
    "nested": (of(lambda model, x: {"a": (x, x)}), "not made of tensors alone"),
    "nothing": (of(lambda model, x: (x, None)), "not a tensor"),
    "unknown operator": (of(lambda model, x: torch.bucketize(x, model.bounds), bounds=torch.arange(3.0)), "not on the list"),
    "cells": (of(lambda model, x: model.layer(x)[1][1][0], layer=nn.LSTM(8, 6, batch_first=True)), "cells of an LSTM"),
    "own first state": (
        of(
            lambda model, x: model.layer(x, model.first.expand(1, len(x), 6).contiguous())[0],
            layer=nn.GRU(8, 6, batch_first=True), first=nn.Parameter(torch.zeros(1, 1, 6)),
        ),
        "a state of its own",
    ),
    "behind the tracer's back": (of(lambda model, x: x.data * 2), "cannot be traced"),
    "own error": (of(lambda model, x: x @ x), "cannot be traced"),
}  # fmt: skip
