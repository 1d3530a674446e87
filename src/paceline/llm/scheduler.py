"""Which sequences advance in the next step, and by how many tokens. Pure: time comes in as ``now`` (µs).

Continuous batching with chunked prefill: every running sequence that decodes takes one row a step,
prefills share what the chunk policy leaves. Sequences run in order of arrival. When blocks run
out, the youngest running sequence gives its blocks back and is computed anew later; the oldest is
never preempted, so the queue always moves.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from paceline.clock import to_seconds
from paceline.errors import InvalidRequest, QueueFull
from paceline.llm.blocks import BlockPool, num_blocks_for
from paceline.llm.chunking import ChunkPolicy
from paceline.llm.draft.tree import DraftTree
from paceline.llm.load import StepLoad
from paceline.llm.plan import Chunk, Outcome, StepPlan
from paceline.llm.request import Request
from paceline.llm.rows import BLOCK_SIZE
from paceline.llm.sequence import Sequence, State
from paceline.llm.step_cost import StepCost
from paceline.scheduling import Wait

_MAX_HEADROOM_DOUBLINGS = 6
_MIN_DEADLINES = 1024  # below this many it does not matter that ended requests are among them


@dataclass(frozen=True, slots=True)
class Limits:
    """What the scheduler holds at most."""

    max_num_seqs: int
    max_batched_tokens: int
    max_model_len: int
    max_queued_requests: int
    max_queued_tokens: int


class Scheduler:
    """Admission, batching and preemption over one block pool."""

    def __init__(self, pool: BlockPool, limits: Limits, chunking: ChunkPolicy, cost: StepCost) -> None:
        self.pool = pool
        self.limits = limits
        self.cost = cost
        self.waiting: list[Sequence] = []  # by arrival
        self.running: list[Sequence] = []  # by arrival
        self.num_preemptions = 0
        self.num_prefix_queries = 0  # tokens looked up
        self.num_prefix_hits = 0  # tokens found
        self.num_queued_tokens = 0  # not computed yet, of the waiting sequences
        self._chunking = chunking
        self._by_request: dict[str, list[Sequence]] = {}
        self._deadlines: list[tuple[int, str, int]] = []  # heap of deadline, request id, sample

    # ── submit ───────────────────────────────────────────────────────────────────────────────

    def submit(self, item: Request, now: int) -> None:
        """Queues the samples of a request; ``InvalidRequest`` or ``QueueFull`` leave nothing behind."""
        request = item
        max_tokens = self._max_tokens(request)
        self._check_queue(request)
        leader = Sequence(request, 0, now, max_tokens)
        followers = [Sequence(request, index, now, max_tokens, leader) for index in range(1, request.params.n)]
        sequences = [leader, *followers]
        for sequence in sequences:
            self._enqueue(sequence)
            if sequence.deadline is not None:
                heappush(self._deadlines, (sequence.deadline, request.request_id, sequence.index))
        self._by_request[request.request_id] = sequences
        if len(self._deadlines) > max(_MIN_DEADLINES, 2 * (len(self.waiting) + len(self.running))):
            self._deadlines = [item for item in self._deadlines if item[1] in self._by_request]
            heapify(self._deadlines)

    def _max_tokens(self, request: Request) -> int:
        num_prompt = len(request.prompt)
        limit = min(self.limits.max_model_len, self.pool.num_blocks * BLOCK_SIZE)
        if request.request_id in self._by_request:
            raise InvalidRequest(f"request id {request.request_id!r} is in use", param="request_id")
        if num_prompt == 0:
            raise InvalidRequest("the prompt is empty", param="prompt")
        wanted = request.params.max_tokens
        if num_prompt + (wanted or 1) > limit:
            raise InvalidRequest(
                f"{num_prompt} prompt tokens and {wanted or 1} output tokens exceed the {limit} tokens "
                "that the context and the KV pool hold; shorten the prompt or lower max_tokens",
                param="prompt" if num_prompt + 1 > limit else "max_tokens",
                code="context_length_exceeded",
            )
        return wanted or limit - num_prompt

    def _check_queue(self, request: Request) -> None:
        num_requests = len(self.waiting) + request.params.n
        num_tokens = self.num_queued_tokens + len(request.prompt) * request.params.n
        idle = not self.waiting and len(self.running) + request.params.n <= self.limits.max_num_seqs
        if idle or (num_requests <= self.limits.max_queued_requests and num_tokens <= self.limits.max_queued_tokens):
            return
        raise QueueFull(
            f"{len(self.waiting)} requests with {self.num_queued_tokens} prompt tokens are waiting already; "
            f"the limits are {self.limits.max_queued_requests} and {self.limits.max_queued_tokens}",
            retry_after_s=max(1.0, self.cost.predict_s(StepLoad(self.num_queued_tokens, 0, len(self.waiting)))),
        )

    def _enqueue(self, sequence: Sequence) -> None:
        sequence.state = State.WAITING
        insort(self.waiting, sequence, key=_order)
        self.num_queued_tokens += sequence.num_pending

    def _dequeue(self, position: int) -> None:
        sequence = self.waiting.pop(position)
        self.num_queued_tokens -= sequence.num_pending

    # ── end ──────────────────────────────────────────────────────────────────────────────────

    def sequences(self, request_id: str) -> list[Sequence]:
        """Samples of a request that are not finished; empty for an unknown id."""
        return [s for s in self._by_request.get(request_id, ()) if s.state is not State.FINISHED]

    def finish(self, sequence: Sequence) -> None:
        """Ends a sequence at once, wherever it is, and gives its blocks back."""
        if sequence.state is State.FINISHED:
            return
        if sequence.state is State.WAITING:
            self._dequeue(self.waiting.index(sequence))
        else:
            self.running.remove(sequence)
        self._release(sequence)
        sequence.state = State.FINISHED
        samples = self._by_request[sequence.request.request_id]
        if all(sample.state is State.FINISHED for sample in samples):
            del self._by_request[sequence.request.request_id]

    def expire(self, now: int) -> list[Sequence]:
        """Ends and returns the sequences whose deadline has passed."""
        late = []
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, request_id, index = heappop(self._deadlines)
            for sequence in self.sequences(request_id):
                if sequence.index == index and sequence.deadline == deadline:
                    self.finish(sequence)
                    late.append(sequence)
        return late

    # ── schedule ─────────────────────────────────────────────────────────────────────────────

    def schedule(self, now: int) -> StepPlan | Wait:
        """The next step, or ``Wait`` when nothing is queued."""
        num_preemptions = self.num_preemptions
        decodes = [sequence for sequence in self.running if sequence.decoding]
        budget = 0
        if self.waiting or len(decodes) < len(self.running):
            load = StepLoad(len(decodes), sum(sequence.num_computed for sequence in decodes), len(decodes))
            pending = self.num_queued_tokens + sum([s.num_pending for s in self.running if not s.decoding])
            room = self.limits.max_batched_tokens - len(decodes)
            budget = self._chunking.prefill_rows(load, min(room, pending))
        chunks = self._advance_running(budget)
        prefills = [chunk.num_rows for chunk in chunks if not chunk.sequence.decoding]
        num_decodes = len(chunks) - len(prefills)
        budget -= sum(prefills)
        chunks += self._admit(budget, now)
        if chunks:
            return StepPlan(tuple(chunks), now, num_decodes, disturbed=self.num_preemptions != num_preemptions)
        assert not self.waiting, "an idle pool takes whatever `submit` let in"
        return Wait(None)

    def _advance_running(self, budget: int) -> list[Chunk]:
        chunks: list[Chunk] = []
        for sequence in list(self.running):
            if sequence.state is not State.RUNNING:
                continue  # preempted for an older one
            num_rows = 1 if sequence.decoding else min(sequence.num_pending, budget)
            if num_rows == 0 or not self._make_room(sequence, num_rows):
                continue
            if not sequence.decoding:
                budget -= num_rows
            chunks.append(self._chunk(sequence, num_rows))
        return chunks

    def _make_room(self, sequence: Sequence, num_rows: int) -> bool:
        """Gives ``sequence`` blocks for its next rows, preempting younger ones; False if it must yield itself."""
        missing = num_blocks_for(sequence.num_computed + num_rows) - len(sequence.blocks)
        while self.pool.num_available < missing:
            victim = self.running[-1]
            self._preempt(victim)
            if victim is sequence:
                return False
        sequence.blocks.extend(self.pool.allocate() for _ in range(missing))
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._release(sequence)
        sequence.num_computed = sequence.num_published = 0
        sequence.num_preemptions += 1
        self._enqueue(sequence)
        self.num_preemptions += 1

    def _release(self, sequence: Sequence) -> None:
        self.pool.release(sequence.blocks)
        sequence.blocks = []

    def _admit(self, budget: int, now: int) -> list[Chunk]:
        chunks: list[Chunk] = []
        position = 0
        while position < len(self.waiting) and budget > 0 and len(self.running) < self.limits.max_num_seqs:
            sequence = self.waiting[position]
            if not sequence.ready:
                position += 1
                continue
            if not self._fits(sequence):
                break  # nobody overtakes: a large request must not starve
            self._dequeue(position)
            self._take_prefix(sequence)
            num_rows = min(sequence.num_pending, budget)
            insort(self.running, sequence, key=_order)
            sequence.state = State.RUNNING
            sequence.started = now if sequence.started is None else sequence.started
            missing = num_blocks_for(sequence.num_computed + num_rows) - len(sequence.blocks)
            sequence.blocks.extend(self.pool.allocate() for _ in range(missing))
            chunks.append(self._chunk(sequence, num_rows))
            budget -= num_rows
        return chunks

    def _fits(self, sequence: Sequence) -> bool:
        """True if the pool has room for what the prefix cache does not hold of ``sequence``."""
        found = self._find_prefix(sequence)
        missing = num_blocks_for(len(sequence.tokens)) - len(found)
        room = self.pool.num_available - self.pool.num_idle(found)
        return not self.running or room >= missing + self._headroom(sequence)

    def _find_prefix(self, sequence: Sequence) -> list[int]:
        return self.pool.find(sequence.block_hashes(_num_lookup(sequence)))

    def _take_prefix(self, sequence: Sequence) -> None:
        found = self._find_prefix(sequence)
        self.pool.take(found)
        sequence.blocks = found
        sequence.num_computed = len(found) * BLOCK_SIZE
        sequence.num_published = len(found)
        if sequence.num_preemptions == 0:
            sequence.num_cached = sequence.num_computed
            self.num_prefix_queries += _num_lookup(sequence)
            self.num_prefix_hits += sequence.num_computed

    def _headroom(self, sequence: Sequence) -> int:
        """Blocks to leave for what runs already, and more the more often this sequence was preempted.

        Doubling bounds how often a sequence can be preempted when the pool is tight.
        """
        growth = num_blocks_for(sequence.max_tokens - sequence.num_output)
        own = min(growth, 1 << min(sequence.num_preemptions, _MAX_HEADROOM_DOUBLINGS))
        return own + sum(max(1, num_blocks_for(len(s.tokens)) - len(s.blocks)) for s in self.running)

    def _chunk(self, sequence: Sequence, num_rows: int) -> Chunk:
        end = sequence.num_computed + num_rows
        return Chunk(sequence, sequence.num_computed, num_rows, samples=end == len(sequence.tokens))

    # ── speculate ────────────────────────────────────────────────────────────────────────────

    def draft_limit(self, sequence: Sequence) -> int:
        """Draft tokens that may still be of use: the step yields one token more."""
        return sequence.max_tokens - sequence.num_output - 1

    def extend(self, plan: StepPlan, trees: Mapping[Sequence, DraftTree], drafting: int = 0) -> StepPlan:
        """The plan with drafts to verify, as far as there are free blocks: nobody is preempted for a guess.

        ``drafting``: microseconds that making them took.
        """
        chunks = tuple([self._with_draft(chunk, trees) for chunk in plan.chunks]) if trees else plan.chunks
        return StepPlan(chunks, plan.started, plan.num_decodes, drafting, plan.disturbed)

    def _with_draft(self, chunk: Chunk, trees: Mapping[Sequence, DraftTree]) -> Chunk:
        sequence = chunk.sequence
        tree = trees.get(sequence)
        if tree is None:
            return chunk
        assert chunk.samples
        assert chunk.num_rows == 1
        missing = num_blocks_for(chunk.start + 1 + len(tree)) - len(sequence.blocks)
        sequence.blocks.extend(self.pool.allocate() for _ in range(min(missing, self.pool.num_available)))
        room = len(sequence.blocks) * BLOCK_SIZE - chunk.start - 1
        if room < len(tree):
            tree = tree.keep(range(room))
        return Chunk(sequence, chunk.start, 1 + len(tree), True, tree)

    # ── commit ───────────────────────────────────────────────────────────────────────────────

    def commit(self, plan: StepPlan, result: Seq[Outcome], now: int) -> None:
        """Takes in what a step brought, an outcome for each chunk, and learns what it took."""
        for chunk, outcome in zip(plan.chunks, result, strict=True):
            sequence = chunk.sequence
            if sequence.state is not State.RUNNING:
                continue
            sequence.num_computed += chunk.num_rows - len(chunk.tree) + len(outcome.accepted)
            sequence.tokens.extend(outcome.tokens)
            self._publish(sequence)
            if outcome.finish_reason is not None:
                self.finish(sequence)
        if not plan.disturbed:
            self.cost.observe(plan.load, to_seconds(now - plan.started - plan.drafting))

    def _publish(self, sequence: Sequence) -> None:
        num_full = sequence.num_computed // BLOCK_SIZE
        if num_full == sequence.num_published:
            return
        hashes = list(sequence.block_hashes(sequence.num_computed))
        for index in range(sequence.num_published, num_full):
            self.pool.publish(sequence.blocks[index], hashes[index])
        sequence.num_published = num_full


def _num_lookup(sequence: Sequence) -> int:
    """Tokens that may come from the prefix cache: all but the last, which is computed for its logits."""
    wants_all = sequence.request.params.prompt_logprobs is not None and sequence.index == 0
    return 0 if wants_all else len(sequence.tokens) - 1


def _order(sequence: Sequence) -> tuple[int, str, int]:
    return (sequence.arrival, sequence.request.request_id, sequence.index)
