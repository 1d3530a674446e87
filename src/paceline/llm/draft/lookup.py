"""Prompt lookup: what followed the last words when they stood earlier in the same prompt or output. Pure.

Idea: Saxena, "Prompt Lookup Decoding" (2023), with the longest match instead of a fixed one, and copies that may
overlap what they write, as in Lempel and Ziv's compression (1977): text that repeats itself gives long drafts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from paceline.llm.draft.matching import MAX_MATCH, MAX_VOCAB, longest_match, match_before, sprout
from paceline.llm.draft.proposer import Context, Setup
from paceline.llm.draft.tree import NO_DRAFT, DraftTree

SHORTEST: Final = 2  # tokens of a match
PIECE: Final = 4096  # tokens of a sequence that one call reads: 0.2 ms or so


@final
class Lookup:
    """Proposes what followed the latest of the longest matches of at least ``SHORTEST`` tokens.

    A match is kept for as long as the output follows it, and searched for anew where it does not. A sequence is read
    as it grows; one that is ``PIECE`` tokens behind is read piece by piece, without a draft meanwhile.
    Memory: at most 4 bytes for each token of a live sequence.
    """

    def __init__(self) -> None:
        self._readers: dict[Context, _Reader] = {}

    def propose(self, contexts: Sequence[Context], depth: int) -> list[DraftTree]:
        readers = self._readers
        trees = []
        for context in contexts:
            reader = readers.get(context)
            if reader is None:
                reader = readers[context] = _Reader()
            trees.append(reader.propose(context.tokens, depth))
        return trees

    def catch_up(self, contexts: Sequence[Context]) -> list[tuple[int, int]]:
        return [(0, 0)] * len(contexts)

    def num_missed(self, context: Context) -> int:
        return 0

    def finish(self, context: Context) -> None:
        self._readers.pop(context, None)

    def close(self) -> None:
        self._readers.clear()


@final
class _Reader:
    """One sequence: its text, and the match that its end continues."""

    __slots__ = ("at", "length", "num_seen", "second", "text")

    def __init__(self) -> None:
        self.text = ""  # the first tokens, as many as the last search needed
        self.num_seen = 0
        self.at = 0  # the next token is guessed to be that at this index; 0: no match
        self.second = 0  # the same of the occurrence before; 0: none
        self.length = 0

    def propose(self, tokens: list[int], depth: int) -> DraftTree:
        num = len(tokens)
        if num != self.num_seen and not self._follow(tokens, num):
            self._search(tokens, num)
        at, second = self.at, self.second
        if not at:
            return NO_DRAFT
        guess = tokens[at : at + depth]
        if len(guess) < depth:
            guess = _repeated(guess, depth)
        if not second:
            return sprout(guess, (), self.length)
        other = tokens[second : second + depth]
        return sprout(guess, other if len(other) == depth else _repeated(other, depth), self.length)

    def _follow(self, tokens: list[int], num: int) -> bool:
        """Moves the match on if what was emitted follows it, or the one before."""
        seen, at, second = self.num_seen, self.at, self.second
        num_new = num - seen
        if not at or num_new < 0:
            return False
        emitted = tokens[seen:]
        follows = second and tokens[second : second + num_new] == emitted
        if tokens[at : at + num_new] == emitted:
            self.at = at + num_new
            self.second = second + num_new if follows else 0
        elif follows:  # now the latest that is followed by what was emitted
            self.at, self.second = second + num_new, 0
        else:
            return False
        self.num_seen = num
        self.length = min(self.length + num_new, MAX_MATCH)
        return True

    def _search(self, tokens: list[int], num: int) -> None:
        if num < self.num_seen or num < len(self.text):  # cut back
            self.text = ""
        self.at = self.second = self.num_seen = 0
        text = self.text
        if len(text) < num:
            text += "".join(map(chr, tokens[len(text) : len(text) + PIECE]))
            self.text = text
            if len(text) < num:
                return
        self.num_seen = num
        self.at, self.length = longest_match(text, SHORTEST)
        if self.at:
            self.second = match_before(text, self.at, self.length)


def _repeated(tokens: list[int], num: int) -> list[int]:
    """The first ``num`` of ``tokens`` again and again: a copy that reaches the text's end goes on with itself."""
    return (tokens * -(-num // len(tokens)))[:num]


def make(setup: Setup) -> Lookup | None:
    """None where token ids are larger than any character's."""
    return Lookup() if setup.model.vocab_size <= MAX_VOCAB else None
