"""What a draft model has computed of each sequence, and its forward passes.

Only the end of a track can turn out wrong: the text grows and never changes, the guesses behind it
stand as long as the text agrees with them. What still stands is never computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from paceline.llm.blocks import BlockPool, num_blocks_for
from paceline.llm.draft.model_guess import Guess
from paceline.llm.draft.proposer import Context
from paceline.llm.rows import BLOCK_SIZE, RowBatch
from paceline.llm.runner import Runner


@dataclass(slots=True, eq=False)
class Track:
    """One sequence: the text that was taken in, the guesses that follow it, and how much of both is computed.

    ``blocks`` hold keys and values of the first ``num_computed`` tokens. All guesses but the last are
    computed; without guesses, the text's last token is not, since its row gives the next guess.

    >>> track = Track(num_text=5, num_computed=7, ahead=[Guess(4, 0.9), Guess(6, 0.5), Guess(8, 0.5)])
    >>> track.follow([1, 1, 1, 1, 1, 4])
    >>> track.num_computed, [guess.token for guess in track.ahead]
    (7, [6, 8])
    >>> track.follow([1, 1, 1, 1, 1, 4, 7])
    >>> track.num_computed, track.ahead, track.pending([1, 1, 1, 1, 1, 4, 7])
    (6, [], [7])
    """

    blocks: list[int] = field(default_factory=list)
    num_text: int = 0
    num_computed: int = 0
    ahead: list[Guess] = field(default_factory=list)
    private: bool = False  # the guesses were proposed to nobody, so nobody else grades them
    plain: bool = True  # so far, each token was the best of its row
    hits: int = 0  # of private guesses and of rows that were compared with the text
    tries: int = 0

    @property
    def num_pending(self) -> int:
        return self.num_text + len(self.ahead) - self.num_computed

    def follow(self, tokens: Sequence[int]) -> None:
        """Takes in what the text has grown by, and forgets the guesses that disagree with it."""
        if len(tokens) > self.num_text:
            new = tokens[self.num_text :]
            agreed = self._num_agreed(new)
            if agreed == len(new):
                del self.ahead[:agreed]
            else:
                self.ahead.clear()
                self.num_computed = min(self.num_computed, self.num_text + agreed)
            self.num_text = len(tokens)
        self.num_computed = min(self.num_computed, self.num_text + len(self.ahead) - 1)

    def _num_agreed(self, new: Sequence[int]) -> int:
        for index, (guess, token) in enumerate(zip(self.ahead, new, strict=False)):
            if self.private:
                self.grade(guess.token, token)
            if guess.token != token:
                return index
        return min(len(self.ahead), len(new))

    def pending(self, tokens: Sequence[int]) -> list[int]:
        """The tokens of text and guesses that are not computed yet."""
        return [self.ahead[-1].token] if self.ahead else list(tokens[self.num_computed :])

    def grade(self, guess: int, token: int) -> None:
        self.hits += guess == token
        self.tries += 1

    def take_grades(self) -> tuple[int, int]:
        """Hits and tries since the last call."""
        grades = self.hits, self.tries
        self.hits = self.tries = 0
        return grades


class Piece(NamedTuple):
    """Rows of one track from its first token that is not computed; logits are wanted for the last ``num_logits``."""

    track: Track
    tokens: list[int]
    num_logits: int

    def cut(self, num_rows: int) -> tuple[Piece, Piece]:
        num_behind = len(self.tokens) - num_rows
        return (
            Piece(self.track, self.tokens[:num_rows], max(0, self.num_logits - num_behind)),
            Piece(self.track, self.tokens[num_rows:], min(self.num_logits, num_behind)),
        )


class Part(NamedTuple):
    """What one forward pass does of piece number ``number``."""

    number: int
    piece: Piece


@final
class Memory:
    """The tracks of all sequences over one runner's blocks."""

    def __init__(self, runner: Runner, max_rows: int) -> None:
        self._runner = runner
        self._max_rows = max_rows
        self._tracks: dict[Context, Track] = {}
        self.pool = BlockPool(runner.num_blocks, prefix_caching=False)

    def track(self, context: Context) -> Track:
        """The context's track, up to date with its text; a new one if there is none."""
        track = self._tracks.get(context)
        if track is None:
            track = self._tracks[context] = Track()
        track.follow(context.tokens)
        return track

    def num_missed(self, context: Context) -> int:
        """Tokens of the text before its last one that are not computed."""
        track = self._tracks.get(context)
        if track is None:
            return len(context.tokens) - 1
        track.follow(context.tokens)
        return max(0, track.num_text - 1 - track.num_computed)

    def reserve(self, track: Track, least: int, most: int) -> int:
        """Blocks for ``most`` positions, or for as many as there are; how many fit. Takes none if not even ``least`` fit."""
        num_own, num_free = len(track.blocks), self.pool.num_available
        if num_blocks_for(least) > num_own + num_free:
            return 0
        missing = min(num_blocks_for(most) - num_own, num_free)
        track.blocks.extend(self.pool.allocate() for _ in range(missing))
        return min(most, len(track.blocks) * BLOCK_SIZE)

    def drop(self, context: Context) -> None:
        """Forgets a context; an unknown one is ignored."""
        track = self._tracks.pop(context, None)
        if track is not None:
            self.pool.release(track.blocks)

    def run(self, pieces: Sequence[Piece]) -> Iterator[tuple[list[Part], NDArray[np.float32]]]:
        """Computes ``pieces`` in as few passes as their rows allow; of each pass its parts and logits [L, V].

        The logits are valid until the next pass. The iterator must be used up.
        """
        for parts in _passes(pieces, self._max_rows):
            logits = self._runner.forward(_batch([part.piece for part in parts]))
            for part in parts:
                part.piece.track.num_computed += len(part.piece.tokens)
            yield parts, logits

    def lanes(self, tracks: Sequence[Track]) -> Lanes:
        return Lanes(self._runner, tracks, self._max_rows)

    def close(self) -> None:
        self._tracks.clear()
        self._runner.close()


@final
class Lanes:
    """Several tracks that go on side by side, one row each a pass; the arrays of the batch are built once."""

    def __init__(self, runner: Runner, tracks: Sequence[Track], max_rows: int) -> None:
        assert len(tracks) <= max_rows
        self._runner = runner
        self._tracks = tracks
        num_rows = len(tracks)
        self._places = np.array([track.num_computed for track in tracks], np.int32)
        self._batch = RowBatch(
            token_ids=np.zeros(num_rows, np.int32),
            positions=self._places,
            row_starts=np.arange(num_rows + 1, dtype=np.int32),
            num_cached=self._places,
            block_tables=_tables(tracks),
            ancestors=np.zeros(num_rows, np.uint64),
            logit_rows=np.arange(num_rows, dtype=np.int32),
        )

    def step(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Appends a token to each track; logits [tracks, V], valid until the next pass."""
        self._batch.token_ids[:] = tokens
        logits = self._runner.forward(self._batch)
        self._places += 1
        for track in self._tracks:
            track.num_computed += 1
        return logits


def _passes(pieces: Sequence[Piece], max_rows: int) -> Iterator[list[Part]]:
    """The pieces in passes of at most ``max_rows`` rows; those that do not fit are cut."""
    parts: list[Part] = []
    room = max_rows
    for index, whole in enumerate(pieces):
        piece = whole
        while len(piece.tokens) > room:
            if room:
                head, piece = piece.cut(room)
                parts.append(Part(index, head))
            yield parts
            parts, room = [], max_rows
        parts.append(Part(index, piece))
        room -= len(piece.tokens)
    if parts:
        yield parts


def _batch(pieces: Sequence[Piece]) -> RowBatch:
    tokens: list[int] = []
    positions: list[int] = []
    row_starts = [0]
    logit_rows: list[int] = []
    for piece in pieces:
        start = piece.track.num_computed
        tokens += piece.tokens
        positions += range(start, start + len(piece.tokens))
        row_starts.append(len(tokens))
        logit_rows += range(len(tokens) - piece.num_logits, len(tokens))
    return RowBatch(
        token_ids=np.array(tokens, np.int32),
        positions=np.array(positions, np.int32),
        row_starts=np.array(row_starts, np.int32),
        num_cached=np.array([piece.track.num_computed for piece in pieces], np.int32),
        block_tables=_tables([piece.track for piece in pieces]),
        ancestors=np.zeros(len(tokens), np.uint64),
        logit_rows=np.array(logit_rows, np.int32),
    )


def _tables(tracks: Sequence[Track]) -> NDArray[np.int32]:
    tables = np.zeros((len(tracks), max([len(track.blocks) for track in tracks])), np.int32)
    for index, track in enumerate(tracks):
        tables[index, : len(track.blocks)] = track.blocks
    return tables
