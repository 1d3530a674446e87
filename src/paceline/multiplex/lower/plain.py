"""Operators as they are for one tenant: what the loop calls, and what runs where all weights are shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from paceline.multiplex.lower.calls import function_of
from paceline.multiplex.op import Op


def _recurrent(function: Callable[..., Any], num_states: int) -> Callable[..., Any]:
    """A recurrent layer that starts from zeros."""

    def run(x: Tensor, state: None, weights: tuple[Tensor, ...], *options: Any) -> Any:
        num_directions = 2 if len(options) > 4 and options[4] else 1
        zeros = x.new_zeros((num_directions, x.shape[0], weights[1].shape[1]))
        return function(x, (zeros,) * num_states if num_states > 1 else zeros, weights, *options)

    return run


_RECURRENT: Final[dict[str, Callable[..., Any]]] = {
    "aten.lstm.input": _recurrent(torch.lstm, 2),
    "aten.gru.input": _recurrent(torch.gru, 1),
    "aten.rnn_tanh.input": _recurrent(torch.rnn_tanh, 1),
    "aten.rnn_relu.input": _recurrent(torch.rnn_relu, 1),
}


def plain_function(op: Op) -> Callable[..., Any]:
    """What computes this operator for one tenant, given the arguments of the graph."""
    return _RECURRENT.get(op.target) or function_of(op.target)
