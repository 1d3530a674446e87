"""LSTM, GRU and plain recurrent networks, one layer at a time."""

from __future__ import annotations

from typing import Final

from paceline.multiplex.capture.builder import Arguments, Builder, Cell
from paceline.multiplex.capture.rules.general import Rule
from paceline.multiplex.capture.traced import NotCapturable
from paceline.multiplex.op import Weight
from paceline.multiplex.operators import RECURRENT


def recurrent(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """Layers one after another; hidden states after the last step are read from the outputs of their layers.

    An LSTM's cells are not: whoever wants them finds no third result.
    """
    _check(builder, target, arguments)
    source: Cell = arguments["input"]
    params, layers = arguments["params"], arguments["num_layers"]
    num_own = len(params) // layers
    rows_at, last = source.rows_at, []
    for layer in range(layers):
        own = params[layer * num_own : (layer + 1) * num_own]
        one = {"input": source, "hx": None, "params": own, "num_layers": 1, "dropout": 0.0, "batch_first": True}
        source = builder.emit_one(target, arguments | one, rows_at=rows_at)
        last += _last(builder, source, arguments["bidirectional"])
    stacked = builder.emit_one("aten.stack.default", {"tensors": last, "dim": 1}, rows_at=1)  # [R, L * D, H]
    return [source, stacked]


def _check(builder: Builder, target: str, arguments: Arguments) -> None:
    source: Cell = arguments["input"]
    if source.is_weight or source.rank != 3 or source.rows_at != (0 if arguments["batch_first"] else 1):
        raise NotCapturable(f"{target} needs its rows where batch_first says")
    if arguments["train"] and arguments["dropout"] > 0:
        raise NotCapturable("dropout is on: call eval() before")
    num_each = len(arguments["params"]) // (arguments["num_layers"] * (2 if arguments["bidirectional"] else 1))
    if num_each != (4 if arguments["has_biases"] else 2):
        raise NotCapturable(f"{target} has a projection (proj_size)")
    given = arguments["hx"]
    states: list[Cell] = given if isinstance(given, list) else [] if given is None else [given]
    if not all(_is_zero(builder, state) for state in states):
        raise NotCapturable(f"{target} starts from a state of its own instead of zeros")


def _is_zero(builder: Builder, cell: Cell) -> bool:
    """Whether the model made it as zeros. (A parameter that happens to be zero may change.)"""
    spread = builder.producer(cell)
    if spread is None or spread.target != "aten.expand.default" or not isinstance(spread.args[0], Weight):
        return False
    made = builder.producer(builder.weight(spread.args[0].name))
    return made is not None and made.target == "aten.full.default" and made.args[1] == 0


def _last(builder: Builder, outputs: Cell, bidirectional: bool) -> list[Cell]:  # of [R, H]
    """The states with which each direction ends: the last step forwards, the first one backwards."""
    steps, width = outputs.spec.shape[1:]
    assert isinstance(steps, int)
    assert isinstance(width, int)
    ends = []
    for place, step in enumerate((steps - 1, 0) if bidirectional else (steps - 1,)):
        state = builder.emit_one("aten.select.int", {"self": outputs, "dim": 1, "index": step})
        if bidirectional:
            half = {"self": state, "dim": 1, "start": place * width // 2, "end": (place + 1) * width // 2}
            state = builder.emit_one("aten.slice.Tensor", half)
        ends.append(state)
    return ends


RULES: Final[dict[str, Rule]] = dict.fromkeys(sorted(RECURRENT), recurrent)
