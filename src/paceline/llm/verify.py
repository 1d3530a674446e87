"""Tokens from a step's logits: along each draft tree, the path that the sequence's own choices follow.

A draft is accepted if it is the token that is drawn there anyway. So each row is drawn exactly as
a plain step would draw it, with the output, the grammar and the text as they are after the rows
above, and the first draft that differs ends the walk.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from paceline.llm.assemble import wants_prompt_logits
from paceline.llm.output import SequenceOutput
from paceline.llm.plan import Chunk, Outcome, StepPlan
from paceline.llm.request import Delta
from paceline.llm.rows import BLOCK_SIZE
from paceline.llm.sampler import Choice, FailedRow, Row, choose_row, choose_rows
from paceline.llm.sequence import Sequence

_log = logging.getLogger(__name__)


def draw(
    plan: StepPlan, logits: NDArray[np.float32], outputs: Mapping[Sequence, SequenceOutput]
) -> tuple[list[Outcome], list[Delta], list[int]]:  # logits [L, V]
    """Outcomes of all chunks; deltas and last logit rows of those that sample, in order."""
    firsts = _first_rows(plan, logits, outputs)
    sampling = [chunk for chunk in plan.chunks if chunk.samples]
    rows = [outputs[chunk.sequence].row() for chunk in sampling]
    choices = iter(_choose(logits if len(firsts) == len(logits) else logits[firsts], rows) if rows else ())
    outcomes: list[Outcome] = []
    deltas: list[Delta] = []
    last_rows: list[int] = []
    starts = iter(firsts)
    for chunk in plan.chunks:
        if not chunk.samples:
            outcomes.append(Outcome())
            continue
        first = next(starts)
        output = outputs[chunk.sequence]
        accepted: list[int] = []
        try:
            choice = next(choices)
            run = _run(chunk, output, choice, logits, first)
            if run is None:
                _walk(chunk, output, choice, logits, first, accepted)
            else:
                accepted += run
            outcome, delta = output.flush(chunk.sequence, accepted)
        except Exception:
            _log.exception("the text of a sample could not be made")
            outcome, delta = Outcome((), "error"), output.fail("raised")
        outcomes.append(outcome)
        deltas.append(delta)
        last_rows.append(first + (accepted[-1] + 1 if accepted else 0))
    return outcomes, deltas, last_rows


def _first_rows(plan: StepPlan, logits: NDArray[np.float32], outputs: Mapping[Sequence, SequenceOutput]) -> list[int]:
    """The logit row of each sampling chunk's last token; scores prompts on the way."""
    firsts: list[int] = []
    position = 0
    for chunk in plan.chunks:
        if wants_prompt_logits(chunk):
            outputs[chunk.sequence].note_prompt(chunk.start, logits[position : position + chunk.num_rows])
            position += chunk.num_rows - int(chunk.samples)
        if chunk.samples:
            firsts.append(position)
            position += chunk.num_sampling_rows
    return firsts


def _run(
    chunk: Chunk, output: SequenceOutput, choice: Choice | FailedRow, logits: NDArray[np.float32], first: int
) -> list[int] | None:
    """The nodes that ``_walk`` accepts, found at once where every choice is the largest logit; else None."""
    tree, sequence = chunk.tree, chunk.sequence
    if not (tree.tokens and output.is_plain and isinstance(choice, Choice)):
        return None
    rows = logits[first + 1 : first + 1 + len(tree.tokens)]
    best = rows.argmax(axis=1)
    if not np.isfinite(rows[np.arange(len(best)), best]).all():
        return None
    following = best.tolist()
    tokens, nodes = [choice.token_id], []
    above = tree.child(-1, choice.token_id)
    while above is not None:
        nodes.append(above)
        tokens.append(following[above])
        above = tree.child(above, following[above])
    del nodes[output.take_run(tokens) - 1 :]
    sequence.num_drafted += len(tree.tokens)
    sequence.num_accepted += len(nodes)
    return nodes


def _walk(
    chunk: Chunk,
    output: SequenceOutput,
    choice: Choice | FailedRow,
    logits: NDArray[np.float32],
    first: int,
    accepted: list[int],
) -> None:
    """Draws row after row while drafts agree; appends the accepted nodes."""
    tree, sequence = chunk.tree, chunk.sequence
    sequence.num_drafted += len(tree.tokens)
    above = -1
    while output.take(choice) and isinstance(choice, Choice):
        child = tree.child(above, choice.token_id)
        if child is None:
            return
        accepted.append(child)
        sequence.num_accepted += 1
        above = child
        choice = _choose_one(logits[first + 1 + child], output.row())


def _choose(logits: NDArray[np.float32], rows: list[Row]) -> list[Choice | FailedRow]:
    """A token for every row; a row that raises fails alone."""
    try:
        return choose_rows(logits, rows)
    except Exception:
        return [_choose_one(logits[index], row) for index, row in enumerate(rows)]


def _choose_one(logits: NDArray[np.float32], row: Row) -> Choice | FailedRow:  # [V]
    try:
        return choose_row(logits, row)
    except Exception:
        _log.exception("a token could not be drawn")
        return FailedRow("raised")


def moves(plan: StepPlan, outcomes: list[Outcome]) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
    """Storage slots to copy, sources and targets, so that every accepted path lies side by side; None if all do."""
    sources: list[int] = []
    targets: list[int] = []
    for chunk, outcome in zip(plan.chunks, outcomes, strict=True):
        if not outcome.accepted or outcome.accepted[-1] == len(outcome.accepted) - 1:
            continue  # the first branch, as far as it goes
        for place, node in enumerate(outcome.accepted):
            if place != node:
                sources.append(_slot(chunk, 1 + node))
                targets.append(_slot(chunk, 1 + place))
    return (np.array(sources, np.int32), np.array(targets, np.int32)) if sources else None


def _slot(chunk: Chunk, row: int) -> int:
    position = chunk.start + row
    return chunk.sequence.blocks[position // BLOCK_SIZE] * BLOCK_SIZE + position % BLOCK_SIZE
