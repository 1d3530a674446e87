"""What the target says about text: its hidden states and its choices, from the runner that will serve it."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paceline.llm.config import EngineConfig
from paceline.llm.model.checkpoint import open_weights
from paceline.llm.model.families import read_config
from paceline.llm.rows import BLOCK_SIZE, RowBatch
from paceline.llm.runner import open_runner

MAX_ROWS: Final = 512  # of one forward pass
NUM_BLOCKS: Final = 1024


class Text(NamedTuple):
    """Rows of tokens as the target reads them; ``counts`` marks tokens that are worth predicting."""

    ids: NDArray[np.int32]  # [B, T]
    counts: NDArray[np.bool_]  # [B, T]
    hidden: NDArray[np.float16]  # [B, T, H] of the row with this token
    best: NDArray[np.int32]  # [B, T] the likeliest token after it


class Target:
    """A model folder opened for reading and for writing."""

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        self.folder = folder
        self.config = read_config(folder)
        options = EngineConfig(model=str(folder), threads=threads, max_batched_tokens=MAX_ROWS)
        weights = open_weights(folder, self.config)
        _, self._runner = open_runner(options, self.config, weights, num_blocks=NUM_BLOCKS)
        self._runner.wants_hidden = True

    def close(self) -> None:
        self._runner.close()

    def read(self, ids: NDArray[np.int32], counts: NDArray[np.bool_]) -> Text:
        """Takes texts in as they are; at most 2048 tokens each."""
        text = self._blank(ids, counts)
        together = max(1, MAX_ROWS // ids.shape[1])
        for first in range(0, len(ids), together):
            members = range(first, min(first + together, len(ids)))
            for start in range(0, ids.shape[1], MAX_ROWS):
                self._take(text, members, start, min(start + MAX_ROWS, ids.shape[1]))
        return text

    def write(self, prompts: NDArray[np.int32], length: int, warmth: NDArray[np.float32], seed: int) -> Text:
        """Continues prompts [B, P] to ``length`` tokens each, at most 16384 in all.

        ``warmth`` [B] is the temperature of each, 0 for greedy.
        """
        rng = np.random.default_rng(seed)
        num_prompt = prompts.shape[1]
        ids = np.zeros((len(prompts), length), np.int32)
        ids[:, :num_prompt] = prompts
        counts = np.broadcast_to(np.arange(length) >= num_prompt, ids.shape)
        text = self._blank(ids, counts)
        together = max(1, MAX_ROWS // num_prompt)
        ends = np.empty((len(prompts), self.config.vocab_size), np.float32)
        for first in range(0, len(prompts), together):
            members = range(first, min(first + together, len(prompts)))
            logits = self._take(text, members, 0, num_prompt)
            ends[members] = logits.reshape(len(members), num_prompt, -1)[:, -1]
        for place in range(num_prompt, length):
            text.ids[:, place] = _draw(rng, ends, warmth)
            ends = self._take(text, range(len(prompts)), place, place + 1)
        return text

    def _blank(self, ids: NDArray[np.int32], counts: NDArray[np.bool_]) -> Text:
        hidden = np.zeros((*ids.shape, self.config.hidden_size), np.float16)
        return Text(ids, counts, hidden, np.zeros(ids.shape, np.int32))

    def _take(self, text: Text, members: range, start: int, end: int) -> NDArray[np.float32]:
        """Runs tokens start..end of some texts and notes what comes out; logits [B * (end - start), V]."""
        count, width = len(members), -(-end // BLOCK_SIZE)
        per_text = -(-text.ids.shape[1] // BLOCK_SIZE)
        rows = np.arange(count * (end - start), dtype=np.int32)
        blocks = np.arange(members.start, members.stop)[:, None] % (NUM_BLOCKS // per_text) * per_text + np.arange(
            width
        )
        batch = RowBatch(
            token_ids=np.ascontiguousarray(text.ids[members.start : members.stop, start:end]).ravel(),
            positions=np.tile(np.arange(start, end, dtype=np.int32), count),
            row_starts=np.arange(0, len(rows) + 1, end - start, dtype=np.int32),
            num_cached=np.full(count, start, np.int32),
            block_tables=np.ascontiguousarray(blocks, np.int32),
            ancestors=np.zeros(len(rows), np.uint64),
            logit_rows=rows,
        )
        logits = self._runner.forward(batch)
        shape = (count, end - start)
        text.hidden[members.start : members.stop, start:end] = self._runner.hidden.reshape(*shape, -1)
        text.best[members.start : members.stop, start:end] = logits.argmax(1).reshape(shape)
        return logits


def _draw(
    rng: np.random.Generator, logits: NDArray[np.float32], warmth: NDArray[np.float32]
) -> NDArray[np.int64]:  # [B, V], [B] -> [B]
    """The likeliest token, or a random one where it is warm (by the Gumbel trick)."""
    tokens = logits.argmax(1)
    warm = np.flatnonzero(warmth)
    noise = np.log(rng.standard_exponential((len(warm), logits.shape[1]), np.float32) + 1e-12)
    tokens[warm] = (logits[warm] / warmth[warm, None] - noise).argmax(1)
    return tokens
