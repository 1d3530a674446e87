"""The scheduler in virtual time: no device, no sleep; the next token is a hash of all before it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.clock import VirtualClock
from paceline.decision.cost import Estimate
from paceline.errors import InvalidRequest, QueueFull
from paceline.llm.blocks import BlockPool
from paceline.llm.chunking import ChunkPolicy
from paceline.llm.draft.tree import DraftTree
from paceline.llm.plan import Outcome, StepPlan
from paceline.llm.request import FinishReason, Request, SamplingParams
from paceline.llm.scheduler import Limits, Scheduler
from paceline.llm.sequence import Sequence, State
from paceline.llm.step_cost import StepCost
from paceline.scheduling import Wait


class RowCost:
    """A step takes 5 ms and a millisecond a row; known from the start."""

    def predict(self, features: Iterable[float]) -> Estimate:
        return Estimate(0.005 + next(iter(features)) * 1e-3, 0.0, 1)

    def observe(self, features: Iterable[float], seconds: float) -> None:
        pass


def next_token(tokens: list[int]) -> int:
    return int.from_bytes(hashlib.sha256(repr(tokens).encode()).digest()[:2]) % 1000


def alone(prompt: tuple[int, ...], num_tokens: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(num_tokens):
        tokens.append(next_token(tokens))
    return tokens


class World:
    """A scheduler, a clock and a language model that is a hash."""

    def __init__(self, *, num_blocks: int = 64, caching: bool = True, max_step_s: float = 10.0, **limits: int) -> None:
        defaults = {
            "max_num_seqs": 16, "max_batched_tokens": 64, "max_model_len": 512,
            "max_queued_requests": 64, "max_queued_tokens": 10_000,
        }  # fmt: skip
        self.pool = BlockPool(num_blocks, prefix_caching=caching)
        cost = StepCost(RowCost())
        chunking = ChunkPolicy(cost, max_step_s=max_step_s)
        self.scheduler = Scheduler(self.pool, Limits(**{**defaults, **limits}), chunking, cost)
        self.clock = VirtualClock()
        self.plans: list[StepPlan] = []
        self.sequences: list[Sequence] = []

    def submit(self, name: str, prompt: Iterable[int], timeout_s: float | None = None, **params: object) -> None:
        sampling = SamplingParams(**{"max_tokens": 4, **params})
        request = Request(request_id=name, prompt=tuple(prompt), params=sampling, timeout_s=timeout_s)
        self.scheduler.submit(request, self.clock.now())
        self.sequences += self.scheduler.sequences(name)

    def step(self) -> bool:
        plan = self.scheduler.schedule(self.clock.now())
        if isinstance(plan, Wait):
            return False
        self.plans.append(plan)
        for chunk in plan.chunks:
            assert len(chunk.sequence.blocks) * 16 >= chunk.start + chunk.num_rows, "rows without a place to be stored"
        self.clock.advance(1000)
        outcomes = [self._outcome(chunk.sequence) if chunk.samples else Outcome() for chunk in plan.chunks]
        self.scheduler.commit(plan, outcomes, self.clock.now())
        self.pool.check()
        return True

    def _outcome(self, sequence: Sequence) -> Outcome:
        finish: FinishReason | None = "length" if sequence.num_output + 1 == sequence.max_tokens else None
        return Outcome((next_token(sequence.tokens),), finish)

    def run(self, before_step: Callable[[int], None] = lambda step: None, max_steps: int = 10_000) -> None:
        for step in range(max_steps):
            before_step(step)
            if not self.step():
                return
        raise AssertionError("the queue does not empty")

    def check_idle(self) -> None:
        assert self.pool.num_used == 0
        assert all(sequence.state is State.FINISHED for sequence in self.sequences)


def rows(plan: StepPlan) -> list[tuple[str, int]]:
    return [(chunk.sequence.request.request_id, chunk.num_rows) for chunk in plan.chunks]


def test_one_request_prefills_then_decodes() -> None:
    world = World()
    world.submit("a", range(20))
    world.run()
    assert [rows(plan) for plan in world.plans] == [[("a", 20)], [("a", 1)], [("a", 1)], [("a", 1)]]
    assert world.sequences[0].tokens == alone(tuple(range(20)), 4)
    world.check_idle()


def test_empty_scheduler_waits_for_a_submission() -> None:
    assert World().scheduler.schedule(0) == Wait(None)


def test_long_prompt_is_chunked() -> None:
    world = World()
    world.submit("a", range(150), max_tokens=1)
    world.run()
    assert [rows(plan) for plan in world.plans] == [[("a", 64)], [("a", 64)], [("a", 22)]]
    assert [plan.chunks[0].samples for plan in world.plans] == [False, False, True]


def test_decodes_go_on_beside_a_long_prefill() -> None:
    world = World()
    world.submit("a", range(10), max_tokens=8)
    world.step()
    world.submit("b", range(100, 300))
    for _ in range(3):
        world.step()
        assert ("a", 1) in rows(world.plans[-1])


def test_chunk_policy_keeps_a_step_short_while_others_decode() -> None:
    world = World(max_step_s=0.040)
    world.submit("a", range(10), max_tokens=8)
    world.step()
    world.submit("b", range(100, 300))
    world.step()
    assert rows(world.plans[-1]) == [("a", 1), ("b", 32)]


def test_batch_is_bounded() -> None:
    world = World(max_num_seqs=2)
    for name in "abc":
        world.submit(name, range(5))
    world.step()
    assert len(world.plans[-1].chunks) == 2
    world.run()
    world.check_idle()


def test_second_request_finds_the_first_ones_prefix() -> None:
    world = World()
    world.submit("a", range(40))
    world.run()
    world.submit("b", [*range(40), 99])
    world.run()
    second = world.sequences[1]
    assert second.num_cached == 32
    assert second.tokens == alone((*range(40), 99), 4)
    assert (world.scheduler.num_prefix_hits, world.scheduler.num_prefix_queries) == (32, 39 + 40)


def test_an_identical_prompt_still_computes_its_last_token() -> None:
    world = World()
    for name in "ab":
        world.submit(name, range(32))
        world.run()
    assert world.sequences[1].num_cached == 16


def test_salts_keep_prefixes_apart() -> None:
    world = World()
    for salt in ("x", "y"):
        request = Request(
            request_id=salt, prompt=tuple(range(40)), params=SamplingParams(max_tokens=2), cache_salt=salt
        )
        world.scheduler.submit(request, world.clock.now())
        world.run()
    assert world.scheduler.num_prefix_hits == 0


def test_samples_of_one_prompt_share_its_blocks() -> None:
    world = World(max_batched_tokens=128)
    world.submit("a", range(100), n=4)
    world.step()
    assert rows(world.plans[-1]) == [("a", 100)]
    world.step()
    assert rows(world.plans[-1]) == [("a", 1), ("a", 4), ("a", 4), ("a", 4)]
    assert world.pool.num_used == 6 + 4
    world.run()
    world.check_idle()


def test_tiny_pool_finishes_everything_as_if_uncontended() -> None:
    world = World(num_blocks=8, max_batched_tokens=32)
    prompts = {f"r{i}": tuple(range(i, i + 20 + 3 * i)) for i in range(16)}
    for name, prompt in prompts.items():
        world.submit(name, prompt, max_tokens=40)
    world.run()
    world.check_idle()
    assert world.scheduler.num_preemptions > 0, "the pool was meant to be too small"
    for sequence in world.sequences:
        assert sequence.tokens == alone(prompts[sequence.request.request_id], 40)
        assert sequence.num_preemptions <= 8


def test_oldest_is_never_preempted() -> None:
    world = World(num_blocks=6)
    for i in range(6):
        world.submit(f"r{i}", range(20), max_tokens=60)
    world.run()
    assert world.sequences[0].num_preemptions == 0


@pytest.mark.parametrize("stage", range(6))
def test_abort_gives_blocks_back_at_once(stage: int) -> None:
    world = World(max_batched_tokens=16)
    world.submit("a", range(40), n=2)
    for _ in range(stage):
        world.step()
    for sequence in world.scheduler.sequences("a"):
        world.scheduler.finish(sequence)
    world.check_idle()
    assert not world.step()


def test_finishing_twice_or_an_unknown_request_is_harmless() -> None:
    world = World()
    world.submit("a", range(4))
    world.scheduler.finish(world.sequences[0])
    world.scheduler.finish(world.sequences[0])
    assert world.scheduler.sequences("nobody") == []


def test_abort_between_plan_and_commit() -> None:
    world = World()
    world.submit("a", range(4))
    plan = world.scheduler.schedule(0)
    assert isinstance(plan, StepPlan)
    world.scheduler.finish(world.sequences[0])
    world.scheduler.commit(plan, [Outcome((1,))], 1000)
    world.check_idle()


def test_deadline_ends_a_request_wherever_it_is() -> None:
    world = World(max_num_seqs=1)
    world.submit("runs", range(4), max_tokens=400, timeout_s=0.005)
    world.submit("waits", range(4), timeout_s=0.002)
    world.step()
    world.step()
    assert [s.request.request_id for s in world.scheduler.expire(world.clock.now())] == ["waits"]
    world.clock.advance(5000)
    assert [s.request.request_id for s in world.scheduler.expire(world.clock.now())] == ["runs"]
    world.check_idle()


def test_follower_goes_on_when_its_leader_ends_early() -> None:
    world = World(max_batched_tokens=16)
    world.submit("a", range(40), n=2)
    world.step()
    world.scheduler.finish(world.sequences[0])
    world.run()
    assert world.sequences[1].tokens == alone(tuple(range(40)), 4)


@pytest.mark.parametrize(
    ("prompt_len", "max_tokens", "param"), [(0, 1, "prompt"), (512, 1, "prompt"), (500, 13, "max_tokens")]
)
def test_what_can_never_fit_is_refused_at_once(prompt_len: int, max_tokens: int, param: str) -> None:
    world = World()
    with pytest.raises(InvalidRequest) as caught:
        world.submit("a", range(prompt_len), max_tokens=max_tokens)
    assert caught.value.param == param
    assert not world.step()


def test_request_larger_than_the_pool_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="KV pool"):
        World(num_blocks=2).submit("a", range(30), max_tokens=10)


def test_without_max_tokens_the_context_is_the_limit() -> None:
    world = World(max_model_len=32)
    world.submit("a", range(10), max_tokens=None)
    world.run()
    assert world.sequences[0].num_output == 22


def test_full_queue_refuses_and_says_when_to_come_back() -> None:
    world = World(max_num_seqs=1, max_queued_requests=2)
    for name in "ab":
        world.submit(name, range(5))
    with pytest.raises(QueueFull) as caught:
        world.submit("c", range(5), n=2)
    assert caught.value.retry_after_s >= 1.0
    world.run()
    world.check_idle()


def test_queue_is_bounded_by_tokens_too() -> None:
    world = World(max_num_seqs=1, max_queued_tokens=100)
    world.submit("a", range(90))
    with pytest.raises(QueueFull):
        world.submit("b", range(90))


def test_request_id_in_use_is_refused() -> None:
    world = World()
    world.submit("a", range(5))
    with pytest.raises(InvalidRequest, match="in use"):
        world.submit("a", range(5))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.integers(1, 30), st.integers(1, 3), st.integers(0, 30), st.booleans()),
        min_size=1,
        max_size=10,
    ),
    st.integers(8, 24),
    st.integers(16, 64),
    st.booleans(),
)
def test_any_traffic_ends_with_right_tokens_and_clean_books(
    traffic: list[tuple[int, int, int, int, bool]], num_blocks: int, budget: int, caching: bool
) -> None:
    world = World(num_blocks=num_blocks, caching=caching, max_batched_tokens=budget)
    aborts: dict[int, list[str]] = {}
    arrivals: dict[int, list[int]] = {}
    for index, (_, _, _, when, abort) in enumerate(traffic):
        arrivals.setdefault(when // 3, []).append(index)
        if abort:
            aborts.setdefault(when, []).append(f"r{index}")

    def before_step(step: int) -> None:
        for index in arrivals.get(step, ()):
            length, max_tokens, n, _, _ = traffic[index]
            world.submit(f"r{index}", range(length), max_tokens=max_tokens, n=n)
        for name in aborts.get(step, ()):
            for sequence in world.scheduler.sequences(name):
                world.scheduler.finish(sequence)

    for step in range(12):
        before_step(step)
        world.step()
    world.run(lambda step: before_step(step + 12))
    for step in range(12, 40):
        before_step(step)
    world.run()
    world.check_idle()
    for sequence in world.sequences:
        assert sequence.tokens == alone(sequence.request.prompt, sequence.num_output)


def test_requests_that_ended_are_not_remembered_until_their_deadlines() -> None:
    world = World()
    for number in range(5000):
        world.submit(str(number), [number], timeout_s=600.0)
        for sequence in world.scheduler.sequences(str(number)):
            world.scheduler.finish(sequence)
    world.submit("last", [1], timeout_s=1.0)
    assert len(world.scheduler._deadlines) <= 1025
    world.clock.advance(2_000_000)
    assert [sequence.request.request_id for sequence in world.scheduler.expire(world.clock.now())] == ["last"]


def decoding_world(num_blocks: int) -> tuple[World, StepPlan]:
    """One sequence with 15 prompt tokens and an output token, about to decode."""
    world = World(num_blocks=num_blocks)
    world.submit("a", range(15), max_tokens=30)
    world.step()
    plan = world.scheduler.schedule(world.clock.now())
    assert isinstance(plan, StepPlan)
    return world, plan


def test_drafts_get_blocks_and_stay_within_the_pool() -> None:
    world, plan = decoding_world(num_blocks=4)
    [chunk] = plan.chunks
    assert plan.num_decodes == 1
    tree = DraftTree.chain(range(20), [0.5] * 20)
    [longer] = world.scheduler.extend(plan, {chunk.sequence: tree}).chunks
    assert longer.num_rows == 21
    assert longer.tree == tree
    assert len(chunk.sequence.blocks) == 3


def test_drafts_that_find_no_blocks_are_cut() -> None:
    world, plan = decoding_world(num_blocks=3)
    [chunk] = plan.chunks
    tree = DraftTree.chain(range(40), [0.5] * 40)
    [longer] = world.scheduler.extend(plan, {chunk.sequence: tree}).chunks
    assert len(longer.tree) == 3 * 16 - chunk.start - 1
    assert world.scheduler.num_preemptions == 0


def test_accepted_drafts_are_computed_and_the_rest_is_forgotten() -> None:
    world, plan = decoding_world(num_blocks=4)
    [chunk] = plan.chunks
    sequence = chunk.sequence
    plan = world.scheduler.extend(plan, {sequence: DraftTree.chain([1, 2, 3], [0.5] * 3)})
    world.scheduler.commit(plan, [Outcome((1, 2, 9), None, (0, 1))], world.clock.now())
    assert sequence.tokens[-3:] == [1, 2, 9]
    assert sequence.num_computed == len(sequence.tokens) - 1
    assert sequence.decoding
    assert world.scheduler.draft_limit(sequence) == 30 - 4 - 1
