"""Engines whose drafts and decisions are under a test's control, and what they answer."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paceline.llm.config import EngineConfig
from paceline.llm.core import EngineCore
from paceline.llm.draft.proposer import Context, Proposer
from paceline.llm.draft.tree import NO_DRAFT, DraftTree
from paceline.llm.loading import load
from paceline.llm.request import Delta, Request, SamplingParams
from paceline.llm.speculation import Ask, Explanation, Policy, Proposal, StepResult, StepView
from paceline.llm.speculator import Speculator

Answers = Mapping[tuple[int, ...], Sequence[Sequence[int]]]  # by prompt: the outputs of its samples


class Foresight:
    """Proposes what the sequence will say, with mistakes and side branches."""

    def __init__(self, answers: Answers, seed: int = 0, share_wrong: float = 0.2, vocab_size: int = 384) -> None:
        self._answers = answers
        self._random = random.Random(seed)
        self._share_wrong = share_wrong
        self._vocab_size = vocab_size

    def propose(self, contexts: Sequence[Context], depth: int) -> list[DraftTree]:
        return [self._tree(context, depth) for context in contexts]

    def _tree(self, context: Context, depth: int) -> DraftTree:
        prompt, output = tuple(context.tokens[: context.num_prompt]), context.tokens[context.num_prompt :]
        coming = next((a[len(output) :] for a in self._answers.get(prompt, ()) if list(a[: len(output)]) == output), [])
        tokens: list[int] = []
        parents: list[int] = []
        above = -1
        for token in coming[:depth]:
            for _ in range(
                self._random.choice((0, 0, 1, 2))
            ):  # branches that lead nowhere, before and after the right one
                self._add(tokens, parents, self._random.randrange(self._vocab_size), above)
            if self._random.random() < self._share_wrong:
                token = self._random.randrange(self._vocab_size)
            above = self._add(tokens, parents, token, above)
            if len(tokens) > 50:
                break
        depths = DraftTree(tuple(tokens), tuple(parents), (0.0,) * len(tokens)).depths()
        return DraftTree(tuple(tokens), tuple(parents), tuple(0.9**d for d in depths)) if tokens else NO_DRAFT

    def _add(self, tokens: list[int], parents: list[int], token: int, above: int) -> int:
        for node, parent in enumerate(parents):
            if parent == above and tokens[node] == token:
                return node
        tokens.append(token)
        parents.append(above)
        return len(tokens) - 1

    def catch_up(self, contexts: Sequence[Context]) -> list[tuple[int, int]]:
        return [(0, 0) for _ in contexts]

    def num_missed(self, context: Context) -> int:
        return 0

    def finish(self, context: Context) -> None:
        pass

    def close(self) -> None:
        pass


class AtRandom:
    """Asks whom it likes for whom it likes, and verifies any part of what comes."""

    def __init__(self, proposers: Sequence[str], seed: int = 0, most: int = 8) -> None:
        self._proposers = proposers
        self._random = random.Random(seed)
        self._most = most

    def rests(self, num_decoding: int) -> bool:
        return self._random.random() < 0.2

    def order(self, step: StepView) -> list[Ask]:
        asks = []
        for name in self._proposers:
            members = tuple(m for m in range(len(step.contexts)) if self._random.random() < 0.7)
            if members:
                asks.append(Ask(name, members, self._random.randint(0, self._most)))
        return asks

    def choose(self, step: StepView, proposals: Sequence[Proposal], draft_s: float) -> dict[int, DraftTree]:
        chosen: dict[int, DraftTree] = {}
        spare = step.spare_rows
        for proposal in proposals:
            tree = chosen[proposal.member].merged(proposal.tree) if proposal.member in chosen else proposal.tree
            kept: set[int] = {-1}
            for node, parent in enumerate(tree.parents):
                if parent in kept and self._random.random() < 0.9 and len(kept) <= 60:
                    kept.add(node)
            chosen[proposal.member] = tree.keep(kept - {-1})
        for member, tree in list(chosen.items()):
            chosen[member] = tree = tree.keep(range(min(len(tree), spare)))
            spare -= len(tree)
            if not len(tree):
                del chosen[member]
        return chosen

    def learn(self, step: StepView, result: StepResult) -> None:
        for context, count in zip(step.contexts, result.num_emitted, strict=True):
            assert len(context.tokens) - context.num_prompt >= count

    def begin(self, context: Context) -> None:
        pass

    def finish(self, context: Context) -> None:
        pass

    def explain(self) -> Explanation:
        return Explanation({}, {}, ())


@dataclass
class Answer:
    """Everything a client sees of one sample."""

    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logprobs: list[tuple[int, float]] = field(default_factory=list)
    top: list[tuple[int, float]] = field(default_factory=list)  # of the last token
    num_drafted: int = 0
    num_accepted: int = 0

    def add(self, delta: Delta) -> None:
        self.tokens += delta.token_ids
        self.text += delta.text
        self.logprobs += [(item.token_id, round(item.logprob, 3)) for item in delta.logprobs]
        self.top = list(delta.logprobs[-1].top) if delta.logprobs else self.top
        self.finish_reason = delta.finish_reason or self.finish_reason
        self.stop_reason = delta.stop_reason if delta.stop_reason is not None else self.stop_reason
        self.num_drafted += delta.num_drafted
        self.num_accepted += delta.num_accepted

    @property
    def seen(self) -> tuple[object, ...]:
        """What must not depend on drafts."""
        return self.tokens, self.text, self.finish_reason, self.stop_reason, self.logprobs


def plain_core(folder: Path, **options: object) -> EngineCore:
    """An engine without speculation."""
    return load(
        EngineConfig(
            **{"model": str(folder), "speculation": "off", "num_blocks": 256, "max_queued_requests": 4096, **options}
        )
    ).core


def speculate(core: EngineCore, policy: Policy, proposers: Mapping[str, Proposer], max_draft: int = 16) -> None:
    """Gives an engine other drafts and decisions."""
    core._speculator = Speculator(
        "test", policy, proposers, core._scheduler, core._clock, vocab_size=core.info.vocab_size, max_draft=max_draft
    )
    core._runner.wants_hidden = core._speculator.wants_hidden


def request(name: str, prompt: Sequence[int], **params: object) -> Request:
    return Request(request_id=name, prompt=tuple(prompt), params=SamplingParams(**{"max_tokens": 24, **params}))


def run(core: EngineCore, requests: Sequence[Request]) -> dict[tuple[str, int], Answer]:
    """Submits all and steps to the end."""
    answers: dict[tuple[str, int], Answer] = {}
    for each in requests:
        core.submit(each, core.warm(each))
    while not core.idle:
        for delta in core.step():
            answers.setdefault((delta.request_id, delta.index), Answer()).add(delta)
    stats = core.stats()
    assert stats.num_leaked_blocks == 0
    return answers


def by_prompt(requests: Sequence[Request], answers: Mapping[tuple[str, int], Answer]) -> Answers:
    """What ``Foresight`` wants."""
    known: dict[tuple[int, ...], list[list[int]]] = {}
    for each in requests:
        for index in range(each.params.n):
            known.setdefault(each.prompt, []).append(answers[each.request_id, index].tokens)
    return known
