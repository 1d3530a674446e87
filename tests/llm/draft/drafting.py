"""A tiny draft model, the same model computed from scratch, and what their drafts are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ExecutionError
from paceline.llm.config import EngineConfig
from paceline.llm.draft.model import ModelProposer
from paceline.llm.draft.model_guess import MIN_SURVIVAL
from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree, defect
from paceline.llm.model.checkpoint import open_weights
from paceline.llm.model.families import read_config
from paceline.llm.rows import RowBatch
from paceline.llm.runner import Runner, open_runner
from paceline.llm.sampler import Choice, SequenceSampler
from tests.llm.batches import Appended, row_batch

V = 384
LENGTH = 1024
PROMPT = np.random.default_rng(3).integers(3, V, 900).tolist()


class Recorded:
    """A runner that counts its rows and fails on demand."""

    def __init__(self, inner: Runner) -> None:
        self.config, self.num_blocks = inner.config, inner.num_blocks
        self.weights_bytes, self.kv_bytes = inner.weights_bytes, inner.kv_bytes
        self.wants_hidden, self.hidden = inner.wants_hidden, inner.hidden
        self.inner = inner
        self.rows: list[int] = []  # of each pass
        self.fails = False
        self.damage: float | None = None
        self.closed = False

    def forward(self, batch: RowBatch) -> NDArray[np.float32]:
        if self.fails:
            raise ExecutionError("planted")
        self.rows.append(batch.num_rows)
        logits = self.inner.forward(batch)
        return logits if self.damage is None else np.full_like(logits, self.damage)

    def move(self, sources: NDArray[np.int32], targets: NDArray[np.int32]) -> None:
        raise AssertionError("a draft is a chain and needs no moves")

    def close(self) -> None:
        self.closed = True


class Noise:
    """The coupling of a real sampler."""

    def __init__(self, inner: SequenceSampler) -> None:
        self.inner = inner

    def guess(self, logits: NDArray[np.float32], drafts_above: Sequence[int]) -> int | None:
        choice = self.inner.choose(logits, drafts_above)
        return choice.token_id if isinstance(choice, Choice) else None


def open_draft(folder: Path, num_blocks: int = 256, max_rows: int = 512) -> Recorded:
    config = read_config(folder)
    options = EngineConfig(model=str(folder), threads=1, max_num_seqs=1, max_batched_tokens=max_rows, device="cpu")
    return Recorded(open_runner(options, config, open_weights(folder, config), num_blocks=num_blocks)[1])


class Oracle:
    """The same model, computed from scratch for every token."""

    def __init__(self, folder: Path) -> None:
        self._runner = open_draft(folder, 64, LENGTH)

    def logits(self, tokens: Sequence[int]) -> NDArray[np.float32]:  # [tokens, V]
        return self._runner.forward(row_batch([Appended(tokens, 0, range(64))])).copy()

    def chain(self, tokens: Sequence[int], num_tokens: int, noise: Noise | None = None) -> list[int]:
        found: list[int] = []
        for _ in range(num_tokens):
            row = self.logits([*tokens, *found])[-1]
            token = int(row.argmax()) if noise is None else noise.guess(row, found)
            assert token is not None
            found.append(token)
        return found


def proposer(folder: Path, **options: int) -> tuple[ModelProposer, Recorded]:
    runner = open_draft(folder, **options)
    return ModelProposer(runner, max_rows=options.get("max_rows", 512)), runner


def context(num_tokens: int, *, first: int = 0, num_prompt: int | None = None, **options: Any) -> Context:
    tokens = PROMPT[first : first + num_tokens]
    return Context(tokens, num_tokens if num_prompt is None else num_prompt, **options)


def chain_of(tree: DraftTree) -> list[int]:
    """The tokens of the first choices, which come first."""
    length = next((node for node, parent in enumerate(tree.parents) if parent != node - 1), len(tree))
    return list(tree.tokens[:length])


def check_tree(oracle: Oracle, tree: DraftTree, tokens: Sequence[int], depth: int) -> None:
    """The chain is what the model would write, as sure of it; it may end early where it would hardly survive."""
    chain = chain_of(tree)
    assert defect(tree, V, depth) is None
    assert chain
    assert len(chain) == depth or tree.survival[len(chain) - 1] < MIN_SURVIVAL
    logits = oracle.logits([*tokens, *chain])[len(tokens) - 1 : -1].astype(np.float64)
    assert chain == logits.argmax(axis=1).tolist()
    chances = np.exp(logits.max(axis=1)) / np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(tree.survival[: len(chain)], np.sqrt(chances).cumprod(), rtol=1e-3)
