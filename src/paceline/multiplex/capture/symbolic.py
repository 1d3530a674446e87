"""Tracing by ``torch.fx`` for two numbers of rows, and telling from the difference what follows the rows.

The second way: for models that are straight lines although ``torch.export`` refuses them, as those that call
``len(x)`` or ``int(x.shape[0])``, which an open number of rows does not survive.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from paceline.multiplex.capture.check import flat
from paceline.multiplex.capture.evaluate import TRIAL_ROWS
from paceline.multiplex.capture.export import why, with_rows
from paceline.multiplex.capture.plain import plain, state_of
from paceline.multiplex.capture.traced import (
    Call,
    Input,
    NotCapturable,
    Source,
    State,
    Traced,
    calls_of,
    distinct,
    output_sources,
)
from paceline.multiplex.op import Rows


def trace(model: nn.Module, examples: tuple[torch.Tensor, ...]) -> Traced:
    """The calls of a model for any number of rows. Raises NotCapturable."""
    few, many = (_trace(model, tuple(with_rows(each, num_rows) for each in examples)) for num_rows in TRIAL_ROWS)
    if [call.target for call in few.calls] != [call.target for call in many.calls] or few.outputs != many.outputs:
        raise NotCapturable("it treats some numbers of rows in their own way")
    for name, constant in few.state.items():
        if not torch.equal(constant, many.state[name]):
            raise NotCapturable("it makes a constant that depends on the number of rows")
    calls = (
        Call(small.target, _merged(small.args, large.args), _merged(small.keywords, large.keywords))
        for small, large in zip(few.calls, many.calls, strict=True)
    )
    return Traced(tuple(calls), few.outputs, few.state)


def _trace(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Traced:
    state = state_of(model)

    def run(values: list[torch.Tensor], *rows: torch.Tensor) -> list[torch.Tensor]:
        named = dict(zip(state, values, strict=True))
        return list(flat(torch.func.functional_call(model, named, rows, tie_weights=False))[0])

    try:
        with plain(model):
            module = make_fx(run, tracing_mode="fake", pre_dispatch=True)(list(state.values()), *inputs)
    except NotCapturable:
        raise
    except Exception as error:  # whatever the tracer or the model's own code raises
        raise NotCapturable(why(error)) from error
    *nodes, last = module.graph.nodes
    places: list[Source] = [*map(State, state), *map(Input, range(len(inputs)))]
    sources = dict(zip((node for node in nodes if node.op == "placeholder"), places, strict=True))
    constants = {node: str(node.target) for node in nodes if node.op == "get_attr"}
    held = {f"constant.{name}": getattr(module, name) for name in constants.values()}
    if any(isinstance(each, torch._subclasses.FakeTensor) for each in held.values()):
        raise NotCapturable("it takes numbers out of its input behind the tracer's back, as .data does")
    firsts = distinct(held)
    sources |= {node: State(firsts[f"constant.{name}"]) for node, name in constants.items()}
    calls = calls_of(nodes, sources, lambda size: size)
    return Traced(calls, output_sources(last.args[0], sources), state | held)


def _merged(few: Any, many: Any) -> Any:
    """Arguments for any number of rows from those for two of them."""
    if isinstance(few, (list, tuple)) and len(few) == len(many):
        return type(few)(map(_merged, few, many))
    if isinstance(few, dict):
        return {name: _merged(value, many[name]) for name, value in few.items()}
    if few == many or (few != few and many != many):  # NaN is not itself
        return few
    factor = few // TRIAL_ROWS[0] if isinstance(few, int) else 0
    if (few, many) != (factor * TRIAL_ROWS[0], factor * TRIAL_ROWS[1]):
        raise NotCapturable("it uses a number that follows the number of rows, but is no multiple of it")
    return Rows(factor)
