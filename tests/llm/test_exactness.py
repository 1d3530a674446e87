"""Speculation must not be seen in any answer: token for token, text, reasons and log-probabilities."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from paceline.llm.core import EngineCore
from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree
from paceline.llm.request import Grammar, Request
from paceline.llm.speculation import Proposal, StepView
from tests.llm.folders import write_folder
from tests.llm.speculating import Answer, AtRandom, Foresight, by_prompt, plain_core, request, run, speculate

SCHEMA = json.dumps({"type": "object", "properties": {"a": {"enum": ["to", "the"]}, "b": {"type": "integer"}}})
OPTIONS: dict[str, dict[str, object]] = {
    "penalties": {"presence_penalty": 0.7, "frequency_penalty": 0.4, "repetition_penalty": 1.2},
    "bias": {"logit_bias": {40: 3.0, 41: -100.0}, "bad_words": ("he", "in")},
    "grammar": {"grammar": Grammar("json_schema", SCHEMA)},
    "logprobs": {"logprobs": 3},
    "stop": {"stop": ("th", "e", "zz"), "stop_token_ids": (77, 78)},
    "n": {"n": 3},
    "seed": {"seed": 11},
    "min_tokens": {"min_tokens": 20},
}
PAIRS = list(itertools.combinations(OPTIONS, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("exact"), "qwen3")


@pytest.fixture(scope="module")
def core(folder: Path) -> Iterator[EngineCore]:
    core = plain_core(folder)
    yield core
    core.close()


def off(core: EngineCore) -> None:
    speculate(core, AtRandom(()), {})


def prompts(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return [tuple(rng.randrange(3, 300) for _ in range(rng.randint(3, 30))) for _ in range(count)]


def seen(answers: dict[tuple[str, int], Answer]) -> dict[tuple[str, int], tuple[object, ...]]:
    return {key: answer.seen for key, answer in answers.items()}


def with_options(names: Sequence[str], temperature: float) -> list[Request]:
    params: dict[str, object] = {"temperature": temperature, "seed": 5}
    for name in names:
        params |= OPTIONS[name]
    return [request(f"r{index}", prompt, **params) for index, prompt in enumerate(prompts(3))]


@pytest.mark.parametrize("temperature", [0.0, 0.9], ids=["greedy", "sampled"])
@pytest.mark.parametrize("pair", PAIRS, ids=["+".join(pair) for pair in PAIRS])
def test_options_in_pairs(core: EngineCore, pair: tuple[str, str], temperature: float) -> None:
    requests = with_options(pair, temperature)
    off(core)
    plain = run(core, requests)
    speculate(core, AtRandom(["foresight"], seed=1), {"foresight": Foresight(by_prompt(requests, plain))})
    fast = run(core, requests)
    assert seen(fast) == seen(plain)
    assert sum(answer.num_accepted for answer in fast.values()) > 0


def test_drafts_save_steps(core: EngineCore) -> None:
    requests = with_options((), 0.0)
    off(core)
    before = core.stats().num_steps
    plain = run(core, requests)
    num_plain = core.stats().num_steps - before
    oracle = Foresight(by_prompt(requests, plain), share_wrong=0.0)
    speculate(core, AtRandom(["foresight"]), {"foresight": oracle})
    before = core.stats().num_steps
    assert seen(run(core, requests)) == seen(plain)
    assert core.stats().num_steps - before < num_plain / 2
    stats = core.stats().speculation
    assert stats is not None
    assert stats.num_accepted_tokens == sum(stats.accepted_by_depth) > 20
    assert stats.num_draft_tokens >= stats.num_accepted_tokens


def test_random_traffic(folder: Path) -> None:
    """Arrivals, aborts, preemption, shared prefixes and prompts in chunks, against every request alone."""
    rng = random.Random(4)
    stems = prompts(3, seed=9)
    requests = [
        request(
            f"r{index}",
            rng.choice(stems) * 2 + tuple(rng.randrange(3, 300) for _ in range(rng.randint(1, 12))),
            temperature=rng.choice((0.0, 0.8)),
            seed=index,
            max_tokens=rng.randint(5, 90),
            ignore_eos=True,
        )
        for index in range(24)
    ]
    alone = plain_core(folder)
    plain = {key: answer for each in requests for key, answer in run(alone, [each]).items()}
    alone.close()
    core = plain_core(folder, num_blocks=18, max_num_seqs=8, max_batched_tokens=24)
    speculate(core, AtRandom(["foresight"], seed=2), {"foresight": Foresight(by_prompt(requests, plain), seed=3)})
    answers: dict[tuple[str, int], Answer] = {}
    waiting, aborted = list(requests), set()
    while waiting or not core.idle:
        while waiting and rng.random() < 0.7:
            core.submit(waiting.pop(0))
        if rng.random() < 0.03 and answers:
            name, _ = rng.choice(list(answers))
            core.abort(name)
            aborted.add(name)
        for delta in core.step():
            answers.setdefault((delta.request_id, delta.index), Answer()).add(delta)
    assert core.stats().num_preemptions > 0
    assert core.stats().num_prefix_hits > 0
    assert core.stats().num_leaked_blocks == 0
    core.close()
    for key, answer in answers.items():
        expected = plain[key]
        if key[0] in aborted and answer.finish_reason is None:
            assert answer.tokens == expected.tokens[: len(answer.tokens)]
        else:
            assert answer.seen == expected.seen


def test_opting_out(core: EngineCore) -> None:
    requests = [
        request("a", prompts(1)[0], temperature=0.0),
        request("b", prompts(1)[0], temperature=0.0, speculation=False),
    ]
    off(core)
    plain = run(core, requests)
    speculate(core, AtRandom(["foresight"]), {"foresight": Foresight(by_prompt(requests, plain), share_wrong=0.0)})
    fast = run(core, requests)
    assert seen(fast) == seen(plain)
    assert fast["a", 0].num_accepted > 0
    assert fast["b", 0].num_drafted == 0


def test_joint_law_of_three_tokens(core: EngineCore) -> None:
    """Chi-square of what is sampled under drafts of random lengths against the model's own softmax."""
    prompt, num_samples, kept = prompts(1, seed=3)[0], 1200, 3
    laws: dict[tuple[int, ...], dict[int, float]] = {}
    off(core)

    def law(above: tuple[int, ...]) -> dict[int, float]:
        if above not in laws:
            [answer] = run(
                core, [request("law", prompt + above, temperature=1.0, top_k=kept, max_tokens=1, logprobs=kept, seed=0)]
            ).values()
            scores = np.array([score for _, score in answer.top])
            shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            laws[above] = {token: float(share) for (token, _), share in zip(answer.top, shares, strict=True)}
        return laws[above]

    requests = [
        request(f"s{seed}", prompt, temperature=1.0, top_k=kept, max_tokens=3, seed=seed, ignore_eos=True)
        for seed in range(num_samples)
    ]
    plain = run(core, requests)
    guesses = Foresight({prompt: [answer.tokens for answer in plain.values()]}, share_wrong=0.3)
    speculate(core, AtRandom(["foresight"], seed=6), {"foresight": guesses})
    fast = run(core, requests)
    assert sum(answer.num_accepted for answer in fast.values()) > num_samples / 6
    counts = Counter(tuple(answer.tokens) for answer in fast.values())
    off(core)
    statistic = 0.0
    num_cells = 0
    for first, a in law(()).items():
        for second, b in law((first,)).items():
            for third, c in law((first, second)).items():
                expected = num_samples * a * b * c
                if expected >= 3:
                    statistic += (counts[first, second, third] - expected) ** 2 / expected
                    num_cells += 1
    assert sum(counts[key] for key in counts) == num_samples
    assert statistic < num_cells + 4 * (2 * num_cells) ** 0.5


class Broken(Foresight):
    """Right answers, spoilt in one way, for every second context."""

    def __init__(self, fault: str) -> None:
        super().__init__({})
        self._fault = fault

    def propose(self, contexts: Sequence[Context], depth: int) -> list[DraftTree]:
        match self._fault:
            case "raises":
                raise RuntimeError("no idea")
            case "NaN":
                trees = [DraftTree.chain([5], [float("nan")]) for _ in contexts]
            case "wrong shape":
                trees = [DraftTree((5, 6), (-1,), (0.5, 0.5)) for _ in contexts]
            case "too many tokens":
                trees = [DraftTree.chain([5] * 90, [0.5] * 90) for _ in contexts]
            case "too deep":
                trees = [DraftTree.chain([5] * (depth + 1), [0.5] * (depth + 1)) for _ in contexts]
            case "unknown token":
                trees = [DraftTree.chain([100_000], [0.5]) for _ in contexts]
            case "cycle":
                trees = [DraftTree((5, 6), (1, 0), (0.5, 0.5)) for _ in contexts]
            case "one tree short":
                trees = [DraftTree.chain([5], [0.5]) for _ in contexts][1:]
            case _:
                trees = [None for _ in contexts]  # type: ignore[misc]
        return trees


FAULTS = [
    "raises",
    "NaN",
    "wrong shape",
    "too many tokens",
    "too deep",
    "unknown token",
    "cycle",
    "one tree short",
    "none",
]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("ignore")
def test_broken_proposer_costs_nothing_but_speed(core: EngineCore, fault: str) -> None:
    requests = with_options((), 0.0)
    off(core)
    plain = run(core, requests)
    speculate(core, AtRandom(["broken"]), {"broken": Broken(fault)})
    assert seen(run(core, requests)) == seen(plain)
    stats = core.stats().speculation
    assert stats is not None
    assert stats.num_failures["broken"] > 0
    assert stats.num_accepted_tokens == 0


class BrokenPolicy(AtRandom):
    def order(self, step):  # type: ignore[no-untyped-def]
        raise ZeroDivisionError("not my day")


def test_broken_policy_decodes_plainly(core: EngineCore) -> None:
    requests = with_options((), 0.0)
    off(core)
    plain = run(core, requests)
    speculate(core, BrokenPolicy(["foresight"]), {"foresight": Foresight(by_prompt(requests, plain))})
    assert seen(run(core, requests)) == seen(plain)
    stats = core.stats().speculation
    assert stats is not None
    assert stats.num_failures["policy"] > 0
    assert stats.num_plain_steps == stats.num_steps


class Greedy(AtRandom):
    """Verifies more than there is room for."""

    def choose(self, step: StepView, proposals: Sequence[Proposal], draft_s: float) -> dict[int, DraftTree]:
        return dict.fromkeys(range(len(step.contexts)), DraftTree.chain([5] * 60, [0.5] * 60))


def test_policy_that_takes_too_many_rows_decodes_plainly(folder: Path) -> None:
    core = plain_core(folder, max_num_seqs=4, max_batched_tokens=16)
    requests = with_options((), 0.0)
    plain = run(core, requests)
    speculate(core, Greedy(["foresight"]), {"foresight": Foresight(by_prompt(requests, plain))})
    assert seen(run(core, requests)) == seen(plain)
    stats = core.stats().speculation
    assert stats is not None
    assert stats.num_failures["policy"] > 0
    core.close()
