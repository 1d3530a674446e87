"""Guesses are what the target itself would draw from the draft's logits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.llm.draft.model_guess import MIN_SURVIVAL
from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import NO_DRAFT, defect
from tests.llm.draft.drafting import (
    PROMPT,
    Noise,
    Oracle,
    V,
    chain_of,
    check_tree,
    context,
    proposer,
)
from tests.llm.logits import sampler


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": 0.0, "repetition_penalty": 1.3, "frequency_penalty": 0.5},
        {"temperature": 0.8},
        {"temperature": 1.0, "top_p": 0.9, "top_k": 30, "presence_penalty": 0.7, "logit_bias": {9: 4.0}},
    ],
    ids=["greedy", "greedy with penalties", "sampled", "sampled with everything"],
)
def test_a_draft_that_is_the_target_is_always_right(folder: Path, oracle: Oracle, options: dict[str, Any]) -> None:
    prompt = PROMPT[:12]
    made = sampler(V, prompt_ids=tuple(prompt), seed=11, **options)
    own = Context(list(prompt), 12, options["temperature"], coupling=Noise(made))
    text = oracle.chain(prompt, 16, Noise(made))
    drafts, _ = proposer(folder)
    while made.num_output < 12:
        [tree] = drafts.propose([own], 3)
        length = len(chain_of(tree))
        assert chain_of(tree) == text[made.num_output :][:length]
        assert length == 3 or tree.survival[length - 1] < MIN_SURVIVAL
        new = text[made.num_output :][: length + 1]
        made.add(new)
        own.tokens.extend(new)


def test_a_sampled_runner_up_is_drawn_without_the_first_choice(folder: Path, oracle: Oracle) -> None:
    drafts, _ = proposer(folder)
    num_leaves = 0
    for seed in range(8):
        own = context(10, first=20 * seed, temperature=1.0, coupling=Noise(sampler(V, seed=seed)))
        [tree] = drafts.propose([own], 3)
        leaves = [node for node, parent in enumerate(tree.parents) if parent != node - 1]
        assert defect(tree, V, 3) is None
        assert [tree.parents[node] for node in leaves] in ([], [-1])  # only where the draft begins
        for node in leaves:
            row = oracle.logits(own.tokens)[-1]
            row = np.where(row >= row.max() - 4.0, row, -np.inf).astype(np.float32)  # rivals are near the best
            row[tree.tokens[0]] = -np.inf
            assert tree.tokens[node] == Noise(sampler(V, seed=seed)).guess(row, [])
            num_leaves += 1
    assert num_leaves


def test_a_greedy_runner_up_is_the_second_best(folder: Path, oracle: Oracle) -> None:
    drafts, _ = proposer(folder)
    num_leaves = 0
    for first in range(0, 160, 20):
        own = context(10, first=first)
        [tree] = drafts.propose([own], 4)
        chain = chain_of(tree)
        for node in range(len(chain), len(tree)):
            above = chain[: tree.parents[node] + 1]
            order = oracle.logits([*own.tokens, *above])[-1].argsort()
            assert [tree.tokens[tree.parents[node] + 1], tree.tokens[node]] == order[:-3:-1].tolist()
            num_leaves += 1
    assert num_leaves


class Refusing:
    """Allows ``num_tokens`` tokens, then raises or allows none."""

    def __init__(self, num_tokens: int, *, raises: bool = False) -> None:
        self.num_tokens, self.raises = num_tokens, raises

    def guess(self, logits: NDArray[np.float32], drafts_above: Sequence[int]) -> int | None:
        if len(drafts_above) < self.num_tokens:
            return int(logits.argmax())
        if self.raises:
            raise RuntimeError("planted")
        return None


def test_a_draft_ends_where_nothing_is_allowed(folder: Path, oracle: Oracle) -> None:
    drafts, _ = proposer(folder)
    free, held, stuck = context(10), context(10, coupling=Refusing(1)), context(10, coupling=Refusing(0))
    for _ in range(2):
        trees = drafts.propose([free, held, stuck], 3)
        assert [len(chain_of(tree)) for tree in trees] == [3, 1, 0]
        assert trees[2] is NO_DRAFT
        assert chain_of(trees[0]) == oracle.chain(free.tokens, 3)
        for each in (free, held, stuck):
            each.tokens.append(chain_of(trees[0])[0])


def test_a_coupling_that_raises_leaves_what_was_stored(folder: Path, oracle: Oracle) -> None:
    drafts, _ = proposer(folder)
    own = context(10, coupling=Refusing(1, raises=True))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="planted"):
            drafts.propose([own], 3)
    own.coupling = None
    check_tree(oracle, drafts.propose([own], 3)[0], own.tokens, 3)


@pytest.mark.parametrize("damage", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_give_no_draft(folder: Path, damage: float) -> None:
    drafts, runner = proposer(folder)
    runner.damage = damage
    assert drafts.propose([context(10)], 3) == [NO_DRAFT]
    assert drafts.catch_up([context(10, first=50)]) == [(0, 0)]
