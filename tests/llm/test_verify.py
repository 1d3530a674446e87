"""What a verified tree leaves behind: slots that move, positions that stay."""

from __future__ import annotations

import numpy as np

from paceline.llm.assemble import assemble
from paceline.llm.draft.tree import DraftTree
from paceline.llm.plan import Chunk, Outcome, StepPlan
from paceline.llm.request import Request, SamplingParams
from paceline.llm.sequence import Sequence
from paceline.llm.verify import moves

TREE = DraftTree((5, 6, 7, 8), (-1, -1, 1, 2), (0.5, 0.4, 0.3, 0.2))  # 5 | 6 7 8


def plan(tree: DraftTree) -> StepPlan:
    request = Request(request_id="r", prompt=tuple(range(100, 114)), params=SamplingParams(max_tokens=9))
    sequence = Sequence(request, 0, 0, 9)
    sequence.tokens.append(50)
    sequence.num_computed, sequence.blocks = 14, [3, 9]
    return StepPlan((Chunk(sequence, 14, 1 + len(tree), True, tree),), 0, 1)


def test_rows_of_a_tree() -> None:
    batch = assemble(plan(TREE))
    assert batch.token_ids.tolist() == [50, 5, 6, 7, 8]
    assert batch.positions.tolist() == [14, 15, 15, 16, 17]
    assert batch.ancestors.tolist() == [0b1, 0b11, 0b101, 0b1101, 0b11101]
    assert batch.logit_rows.tolist() == [0, 1, 2, 3, 4]


def test_rows_of_a_chain_are_plain_rows() -> None:
    batch = assemble(plan(DraftTree.chain([5, 6], [0.5, 0.4])))
    assert batch.positions.tolist() == [14, 15, 16]
    assert not batch.ancestors.any()


def test_accepted_branch_is_put_in_the_first_branchs_place() -> None:
    slots = moves(plan(TREE), [Outcome((6, 7, 1), None, (1, 2))])
    assert slots is not None
    sources, targets = slots
    assert sources.tolist() == [9 * 16 + 0, 9 * 16 + 1]  # positions 16 and 17
    assert targets.tolist() == [3 * 16 + 15, 9 * 16 + 0]  # positions 15 and 16
    assert sources.dtype == np.int32


def test_nothing_moves_for_the_first_branch() -> None:
    assert moves(plan(TREE), [Outcome((5, 1), None, (0,))]) is None
    assert moves(plan(TREE), [Outcome((1,))]) is None
