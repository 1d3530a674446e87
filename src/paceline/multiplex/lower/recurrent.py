"""LSTM, GRU and plain recurrent layers with weights of each tenant.

The part of the input is one batched product over all steps; then every step is one batched product and what follows.
Layers are ``batch_first``, one at a time, and start from zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, final

import torch
from torch import Tensor

from paceline.multiplex.lower.form import Form
from paceline.multiplex.lower.linear import rows_of
from paceline.multiplex.lower.rule import Rule
from paceline.multiplex.lower.writer import Name, Writer
from paceline.multiplex.op import Many, Op, Value, Weight

Steps: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Input part ``[R, n, T, G * H]``, weights ``[R, H, G * H]`` and a bias ``[R, 1, G * H]`` -> ``[R, n, T, H]``."""


def _start(inputs: Tensor, num_gates: int) -> tuple[Tensor, Tensor, Sequence[Tensor], Sequence[Tensor]]:
    """The result, room for the gates of one step, and of every step the input part and the place of its result."""
    num_tenants, num_rows, num_steps, width = inputs.shape
    output = inputs.new_empty((num_tenants, num_rows, num_steps, width // num_gates))
    gates = inputs.new_empty((num_tenants, num_rows, width))
    return output, gates, inputs.unbind(2), output.unbind(2)


def _lstm(inputs: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """One sigmoid for everything: tanh(x) = 2 sigmoid(2x) - 1, which takes a third of the time of tanh.

    Gates stand in the order input, forget, cell, output. So that nothing is scaled at run time, weights of the cell gate
    are given doubled, those of the state negated, what is kept is twice the cell, and steps write the negated state.
    """
    output, gates, parts, places = _start(inputs, 4)
    entry, keep, candidate, out = gates.chunk(4, -1)
    cell = torch.zeros_like(entry)
    last = None
    for part, place in zip(parts, places, strict=True):
        if last is None:
            gates.copy_(part)
        else:
            torch.baddbmm(part, last, weights, out=gates)
        gates.sigmoid_()
        cell.mul_(keep).addcmul_(entry, candidate, value=4.0).sub_(entry, alpha=2.0)
        torch.addcmul(out, out, cell.sigmoid(), value=-2.0, out=place)
        last = place
    return output.neg_()


def _gru(inputs: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """Gates stand in the order reset, update, new; ``bias`` is that of the new gate's state part."""
    output, gates, parts, places = _start(inputs, 3)
    width = places[0].shape[-1]
    both, state = gates[..., : 2 * width], gates[..., 2 * width :]
    reset, update = both.chunk(2, -1)
    last = torch.zeros_like(state)
    for part, place in zip(parts, places, strict=True):
        torch.baddbmm(bias, last, weights, out=gates)
        both.add_(part[..., : 2 * width]).sigmoid_()
        new = torch.addcmul(part[..., 2 * width :], reset, state).tanh_()
        torch.lerp(new, last, update, out=place)
        last = place
    return output


def _elman(activation: Callable[[Tensor], Tensor]) -> Steps:
    def run(inputs: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
        output, _, parts, places = _start(inputs, 1)
        last = torch.zeros_like(places[0])
        for part, place in zip(parts, places, strict=True):
            last = place.copy_(activation(torch.baddbmm(part, last, weights)))
        return output

    return run


@final
@dataclass(frozen=True, slots=True)
class _Layer:
    """``steps``, and by what the weights of each gate are multiplied beforehand: those of inputs, those of the state."""

    steps: Steps
    inputs: tuple[float, ...]
    state: tuple[float, ...]
    one_bias: bool = True  # the two biases meet in a sum, so that they are added beforehand


_LAYERS: Final[dict[str, _Layer]] = {
    "aten.lstm.input": _Layer(_lstm, (1, 1, 2, 1), (-1, -1, -2, -1)),
    "aten.gru.input": _Layer(_gru, (1, 1, 1), (1, 1, 1), one_bias=False),
    "aten.rnn_tanh.input": _Layer(_elman(torch.tanh_), (1,), (1,)),
    "aten.rnn_relu.input": _Layer(_elman(torch.relu_), (1,), (1,)),
}


def _scaled(stacked: Tensor, factors: tuple[float, ...]) -> Tensor:
    """``[R, G * H, …]`` with each gate multiplied by its factor."""
    if all(factor == 1 for factor in factors):
        return stacked
    parts = zip(stacked.chunk(len(factors), 1), factors, strict=True)
    return torch.cat([gate * factor for gate, factor in parts], 1)


def _write(w: Writer, op: Op, first: int, variant: str) -> bool:
    value, state, weights, has_biases, *options = op.args
    if not isinstance(value, Value) or state is not None or not isinstance(weights, Many):
        return False
    names = [each.name for each in weights.items if isinstance(each, Weight)]
    bidirectional = len(options) > 3 and bool(options[3])
    per_direction = 4 if has_biases else 2
    if len(names) != per_direction * (2 if bidirectional else 1):
        return False
    rows = rows_of(w, value.index)
    num_steps = w.feature(value.index)[0]
    made = [_direction(w, op.target, rows, num_steps, names[:per_direction], backward=False)]
    if bidirectional:
        made.append(_direction(w, op.target, rows, num_steps, names[per_direction:], backward=True))
    w.give(first, Form.SPLIT, made[0] if len(made) == 1 else w.call(torch.cat, tuple(made), -1))
    return True


def _direction(w: Writer, target: str, rows: Name, num_steps: int, names: list[str], *, backward: bool) -> Name:
    layer = _LAYERS[target]
    weight_in, weight_state, *biases = names
    matrix = w.group.prepared("of inputs", (weight_in,), lambda each: _scaled(each, layer.inputs).transpose(1, 2))
    state = w.group.prepared(
        "of state", (weight_state,), lambda each: _scaled(each, layer.state).transpose(1, 2).contiguous()
    )
    if not biases:
        once = later = state.new_zeros((w.num_tenants, 1, state.shape[2]))
    elif layer.one_bias:
        once = later = w.group.prepared(
            "both", (biases[0], biases[1]), lambda a, b: _scaled(a + b, layer.inputs).unsqueeze(1)
        )
    else:
        once, later = [w.group.every(name).unsqueeze(1) for name in biases]
    made = w.call(torch.baddbmm, once, rows, matrix)
    inputs = w.call(Tensor.view, made, (w.num_tenants, -1, num_steps, state.shape[2]), shares=made)
    if backward:
        inputs = w.call(torch.flip, inputs, (2,))
    result = w.call(layer.steps, inputs, state, later)
    return w.call(torch.flip, result, (2,)) if backward else result


RECURRENT_RULE = Rule(_write, may_chain=True)
