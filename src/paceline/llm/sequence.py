"""One sample of a request on its way through the scheduler. Pure; only the scheduler changes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from paceline.clock import to_microseconds, to_seconds
from paceline.llm.blocks import chain_hash, root_hash
from paceline.llm.request import Request
from paceline.llm.rows import BLOCK_SIZE


class State(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class Sequence:
    """Prompt and output tokens of sample ``index``, and how far they are computed.

    ``num_computed`` positions have their keys and values in ``blocks``. A follower (sample 1 and
    up) waits until its ``leader`` has computed the prompt, then finds it in the prefix cache.
    """

    request: Request
    index: int
    arrival: int  # µs
    max_tokens: int  # output tokens, clipped to the context
    leader: Sequence | None = None
    tokens: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)  # of the full blocks of `tokens`, as far as asked for
    num_computed: int = 0
    num_published: int = 0
    started: int | None = None  # µs, its first step
    num_cached: int = 0  # prompt tokens found in the prefix cache at first admission
    num_preemptions: int = 0
    num_emitted: int = 0  # output tokens already handed to the client
    num_drafted: int = 0  # draft tokens verified
    num_accepted: int = 0  # of them, in the text
    state: State = State.WAITING

    def __post_init__(self) -> None:
        self.tokens = list(self.request.prompt)

    @property
    def num_prompt(self) -> int:
        return len(self.request.prompt)

    @property
    def num_output(self) -> int:
        return len(self.tokens) - self.num_prompt

    @property
    def num_pending(self) -> int:
        """Tokens whose keys and values are not computed yet; 1 while decoding."""
        return len(self.tokens) - self.num_computed

    @property
    def decoding(self) -> bool:
        return self.num_pending == 1 and self.num_output > 0

    @property
    def deadline(self) -> int | None:
        timeout_s = self.request.timeout_s
        return None if timeout_s is None else self.arrival + to_microseconds(timeout_s)

    @property
    def queued_s(self) -> float:
        """From submission to the first step, seconds; 0 before it."""
        return 0.0 if self.started is None else to_seconds(self.started - self.arrival)

    @property
    def ready(self) -> bool:
        """False while a follower waits for its leader's prompt."""
        leader = self.leader
        return leader is None or leader.state is State.FINISHED or leader.num_computed >= leader.num_prompt

    def block_hashes(self, num_tokens: int) -> Iterator[bytes]:
        """Chained hashes of the blocks that ``num_tokens`` tokens fill, computed once and kept."""
        for index in range(num_tokens // BLOCK_SIZE):
            if index == len(self.hashes):
                parent = self.hashes[-1] if self.hashes else root_hash(self.request.cache_salt)
                block = self.tokens[index * BLOCK_SIZE : (index + 1) * BLOCK_SIZE]
                self.hashes.append(chain_hash(parent, block))
            yield self.hashes[index]
