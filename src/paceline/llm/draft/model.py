"""Drafts of a smaller model with the same tokens, drawn with the noise that the target draws with.

Each drafted token is ``Coupling.guess`` of the draft's logits, the function that gives the target's
token, so similar models agree greedily and at random alike (Daliri et al. 2024, "Coupling without
communication and drafter-invariant speculative decoding").

A runner-up hangs beside its token as a leaf. The draft goes on below the first choice alone, so
what the draft model stores is always a chain.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.llm.blocks import num_blocks_for
from paceline.llm.config import EngineConfig
from paceline.llm.draft.model_guess import MIN_SURVIVAL, RowReader, guess, tree
from paceline.llm.draft.model_state import Memory, Piece, Track
from paceline.llm.draft.proposer import Context, Setup
from paceline.llm.draft.tree import MAX_NODES, NO_DRAFT, DraftTree
from paceline.llm.memory import available_bytes
from paceline.llm.model.checkpoint import open_weights
from paceline.llm.model.config import ModelConfig
from paceline.llm.model.families import read_config
from paceline.llm.model.folder import read_json
from paceline.llm.model.hub import resolve
from paceline.llm.rows import BLOCK_SIZE
from paceline.llm.runner import Runner, kv_itemsize, open_runner

CATCH_UP_ROWS = 256  # missed tokens that a call computes at most, so that no step waits for a long prompt
_MAX_GRADED = 32  # newest tokens that a catch-up compares; logits cost a small model more than all its layers
_SHARE = 4  # the draft's blocks take at most a quarter of the memory that the target's may take


@dataclass(slots=True, eq=False)
class _Member:
    """A sequence in one call; ``most`` is how many guesses its draft may have."""

    context: Context
    track: Track
    most: int
    above: list[int]  # tokens of the guesses so far
    survival: float  # of the last of them
    stuck: bool = False  # no token was allowed

    @property
    def drafting(self) -> bool:
        return len(self.above) < self.most and self.survival >= MIN_SURVIVAL and not self.stuck

    @property
    def last(self) -> int:
        return self.above[-1] if self.above else self.context.tokens[-1]


@final
class ModelProposer:
    """Drafts with ``runner``, whose KV blocks it hands out; a sequence that finds none free gets no draft."""

    def __init__(self, runner: Runner, *, max_rows: int) -> None:
        self._memory = Memory(runner, max_rows)
        self._max_rows = max_rows
        self._max_model_len = runner.config.max_model_len
        self._rows = RowReader(runner.config.vocab_size)

    # ── the port ─────────────────────────────────────────────────────────────────────────────

    def propose(self, contexts: Sequence[Context], depth: int) -> Sequence[DraftTree]:
        """A chain with runners-up beside it for each context; none while a long text is still being taken in."""
        members = [self._member(context, min(depth, MAX_NODES)) for context in contexts]
        drafting = [member for member in members if member is not None and member.drafting]
        for first in range(0, len(drafting), self._max_rows):
            self._draft(drafting[first : first + self._max_rows])
        for member in members:
            if member is not None:
                member.track.private = False
        return [NO_DRAFT if member is None else tree(member.track.ahead, member.most) for member in members]

    def catch_up(self, contexts: Sequence[Context]) -> Sequence[tuple[int, int]]:
        """Takes in what was emitted; (hits, tries) of each context.

        Two kinds of tokens are graded. The next token is guessed, and the guess compared at the first call after the
        text has grown: exact for every request, but one token a call. And at temperature 0, as long as the guesses
        of a sequence have been the best of their rows (no penalty, no grammar that bites), the newest tokens taken
        in are compared with the best of the rows before them. Guesses that ``propose`` returned are not graded.
        """
        members = [self._member(context, 1) for context in contexts]
        owners, pieces = self._pieces(
            [member for member in members if member is not None and member.drafting], _num_graded
        )
        for parts, logits in self._memory.run(pieces):
            first = 0
            for part in parts:
                wanted = logits[first : first + part.piece.num_logits]
                first += len(wanted)
                self._grade(owners[part.number], wanted)
        return [(0, 0) if member is None else member.track.take_grades() for member in members]

    def num_missed(self, context: Context) -> int:
        """Tokens before the last one that are not computed; 0 for a text that is too long to draft for."""
        return self._memory.num_missed(context) if len(context.tokens) <= self._max_model_len else 0

    def finish(self, context: Context) -> None:
        self._memory.drop(context)

    def close(self) -> None:
        self._memory.close()

    # ── drafting ─────────────────────────────────────────────────────────────────────────────

    def _member(self, context: Context, depth: int) -> _Member | None:
        """None if the text is too long, or the blocks for it are not to be had."""
        length = len(context.tokens)
        if length > self._max_model_len:
            return None
        track = self._memory.track(context)
        room = self._memory.reserve(track, length, min(length + depth - 1, self._max_model_len))
        if room == 0:
            return None
        above = [each.token for each in track.ahead]
        survival = math.prod([each.chance for each in track.ahead])
        return _Member(context, track, min(depth, room - length + 1), above, survival)

    def _draft(self, members: list[_Member]) -> None:
        """Lengthens the drafts, a token a pass."""
        if any([member.track.num_pending > 1 for member in members]):
            members = self._start(members)
        while members:
            lanes = self._memory.lanes([member.track for member in members])
            num_lanes = len(members)
            while len(members) == num_lanes:
                self._lengthen(members, lanes.step([member.last for member in members]))
                members = [member for member in members if member.drafting]

    def _start(self, members: list[_Member]) -> list[_Member]:
        """Takes in what was missed and makes the next guess; the members that go on from there."""
        owners, pieces = self._pieces(members, lambda member: 1)
        for parts, logits in self._memory.run(pieces):
            self._lengthen([owners[part.number] for part in parts if part.piece.num_logits], logits)
        return [member for member, piece in zip(owners, pieces, strict=True) if piece.num_logits and member.drafting]

    def _pieces(
        self, members: list[_Member], num_logits: Callable[[_Member], int]
    ) -> tuple[list[_Member], list[Piece]]:
        """Whose rows this call computes, and which: those who miss least come first, the last may get a part."""
        owners: list[_Member] = []
        pieces: list[Piece] = []
        spare = CATCH_UP_ROWS
        for member in sorted(members, key=lambda member: member.track.num_pending):
            tokens = member.track.pending(member.context.tokens)
            num_missed = len(tokens) - 1
            if num_missed <= spare:
                pieces.append(Piece(member.track, tokens, num_logits(member)))
            elif spare:
                pieces.append(Piece(member.track, tokens[:spare], 0))
            else:
                break
            owners.append(member)
            spare -= min(num_missed, spare)
        return owners, pieces

    def _lengthen(self, members: Sequence[_Member], logits: NDArray[np.float32]) -> None:  # [members, V]
        """One more guess for each member."""
        for member, row in zip(members, self._rows.read(logits), strict=True):
            made = guess(member.context, row, member.above, member.survival)
            if made is None:
                member.stuck = True
                continue
            if row.weights[made.token] < 1.0:
                member.track.plain = False
            member.track.ahead.append(made)
            member.above.append(made.token)
            member.survival *= made.chance

    def _grade(self, member: _Member, logits: NDArray[np.float32]) -> None:  # [rows, V]
        """Compares the rows before known tokens with these; the row at the end of the text gives a guess."""
        track = member.track
        first = track.num_computed - len(logits) + 1  # the place of what follows row 0
        known = member.context.tokens[first : first + len(logits)]
        if known:
            for token, best in zip(known, logits[: len(known)].argmax(axis=1).tolist(), strict=True):
                track.grade(best, token)
        if len(known) < len(logits):
            self._lengthen([member], logits[-1:])
            track.private = True


def _num_graded(member: _Member) -> int:
    """How many rows a catch-up wants the logits of."""
    context, track = member.context, member.track
    if context.temperature > 0.0 or not track.plain:
        return 1
    first = max(track.num_computed, context.num_prompt - 1)
    return 1 + min(_MAX_GRADED, max(0, len(context.tokens) - 1 - first))


# ── loading ──────────────────────────────────────────────────────────────────────────────────────


def make(setup: Setup) -> ModelProposer | None:
    """The proposer of ``config.draft``; None without one.

    Raises ConfigError for a draft whose tokens are not the target's, and ModelError or ResourceError as for any model.
    """
    config = setup.config
    if config.draft is None:
        return None
    folder = resolve(config.draft)
    stored = read_config(folder)
    model = dataclasses.replace(
        stored,
        max_model_len=min(stored.max_model_len, setup.model.max_model_len),
        dtype=stored.dtype if config.dtype == "auto" else config.dtype,
    )
    _check_tokens(setup, folder, model)
    _, runner = open_runner(config, model, open_weights(folder, model), num_blocks=pool_blocks(config, model))
    return ModelProposer(runner, max_rows=config.max_batched_tokens)


def pool_blocks(config: EngineConfig, model: ModelConfig) -> int:
    """KV blocks of a draft ``model``: ``max_num_seqs`` full contexts, but never more than the target may have.

    They take at most a quarter of what the target's pool may take: ``kv_memory``, or a quarter of what is free.
    """
    block_bytes = model.kv_bytes_per_token(kv_itemsize(model.dtype)) * BLOCK_SIZE
    memory = config.kv_memory or available_bytes() // 4
    full = config.max_num_seqs * num_blocks_for(model.max_model_len)
    return max(1, min(full, config.num_blocks or full, memory // _SHARE // block_bytes))


def _check_tokens(setup: Setup, folder: Path, model: ModelConfig) -> None:
    sizes = setup.model.vocab_size, model.vocab_size
    if sizes[0] != sizes[1]:
        raise ConfigError(
            f"draft: both models must have the same tokens; {setup.folder} has {sizes[0]}, {folder} has {sizes[1]}"
        )
    own = _tokens(folder)
    if own is None or own != _tokens(setup.folder):
        raise ConfigError(
            f"draft: both models must have the same tokens; the tokenizer.json of {setup.folder} and of {folder} differ"
        )


def _tokens(folder: Path) -> tuple[Any, Any] | None:
    """What ids stand for, as ``tokenizer.json`` says; None without one. How text is cut into tokens may differ."""
    fields = read_json(folder, "tokenizer.json")
    section = None if fields is None else fields.section("model")
    if fields is None or section is None:
        return None
    added = fields.values.get("added_tokens")
    contents = [(token.get("id"), token.get("content")) for token in added or () if isinstance(token, dict)]
    return section.values.get("vocab"), sorted(contents, key=str)
