"""What deciding costs: the controller's own time in a step of 32 sequences."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import final

from benchmarks.common.cells import Cells
from benchmarks.speculation.engines import Watched, make_core, open_model, open_proposers
from benchmarks.speculation.live import Arms, arm_config
from benchmarks.speculation.protocol import OURS, Protocol
from benchmarks.speculation.workloads import Prompt, make_prompts
from paceline.llm.core import EngineCore
from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import NO_DRAFT, DraftTree
from paceline.llm.request import Request, SamplingParams
from paceline.llm.speculation import Policy

BATCH = 32
NUM_FIRST_STEPS = 100  # not counted
MAX_TOKENS = 1700
WORKLOAD = "code-low-overlap"


@final
class Silent:
    """A proposer that never has an idea."""

    def propose(self, contexts: Sequence[Context], depth: int) -> Sequence[DraftTree]:
        return [NO_DRAFT] * len(contexts)

    def catch_up(self, contexts: Sequence[Context]) -> Sequence[tuple[int, int]]:
        return [(0, 0)] * len(contexts)

    def num_missed(self, context: Context) -> int:
        return 0

    def finish(self, context: Context) -> None:
        pass

    def close(self) -> None:
        pass


def measure_overhead(arms: Arms, cells: Cells, protocol: Protocol) -> None:
    """``without_proposals``: proposers are there, but silent. ``with_proposals``: as users have them."""
    if cells.get("overhead") is not None:
        return
    config = arm_config(OURS)
    model = open_model(config)
    proposers = open_proposers(model, config)
    prompts = make_prompts(WORKLOAD, arms, BATCH, seed=1)
    found: dict[str, Mapping[str, float]] = {}
    for name, given in (("without_proposals", dict.fromkeys(proposers, Silent())), ("with_proposals", proposers)):
        watched: list[Watched] = []

        def watch(policy: Policy, kept: list[Watched] = watched) -> Policy:
            kept.append(Watched(policy))
            return kept[0]

        core = make_core(model, config, given, watch)
        found[name] = _measure(core, watched[0], prompts, protocol.num_overhead_steps)
    core.close()
    cells.put("overhead", found)


def _measure(core: EngineCore, watched: Watched, prompts: Sequence[Prompt], num_steps: int) -> dict[str, float]:
    requests = [_endless(prompt, index) for index, prompt in enumerate(prompts)]
    for request in requests:
        core.submit(request)
    while watched.num_steps < NUM_FIRST_STEPS:
        core.step()
    watched.reset()
    began = time.perf_counter()
    while watched.num_steps < num_steps and not core.idle:
        core.step()
    seconds = time.perf_counter() - began
    for request in requests:
        core.abort(request.request_id)
    return {
        "us_per_step": 1e6 * watched.seconds / watched.num_steps,
        "share": watched.seconds / seconds,
        "share_with_proposers": (watched.seconds + watched.draft_s) / seconds,
        "awake_share": watched.num_awake / watched.num_steps,
        "us_per_awake_step": 1e6 * watched.seconds / max(1, watched.num_awake),
    }


def _endless(prompt: Prompt, index: int) -> Request:
    params = SamplingParams(temperature=1.0, seed=index, max_tokens=MAX_TOKENS, ignore_eos=True)
    return Request(request_id=f"overhead/{index}", prompt=prompt.tokens, params=params)
