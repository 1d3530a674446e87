"""Engines as the arms need them: one loaded model under several policies, policies that are watched."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from paceline.clock import WallClock
from paceline.llm.blocks import BlockPool
from paceline.llm.config import EngineConfig
from paceline.llm.core import EngineCore
from paceline.llm.draft.proposer import PROPOSERS, Context, Proposer, Setup
from paceline.llm.draft.tree import DraftTree
from paceline.llm.loading import make_scheduler, shape
from paceline.llm.memory import pool_blocks
from paceline.llm.messages import ModelInfo
from paceline.llm.model.checkpoint import open_weights
from paceline.llm.model.config import ModelConfig
from paceline.llm.model.generation import GenerationDefaults, read_generation
from paceline.llm.output import OutputFactory
from paceline.llm.policies import make_policy
from paceline.llm.runner import Runner, kv_itemsize, open_runner
from paceline.llm.speculation import Ask, Explanation, Policy, PolicySetup, Proposal, StepResult, StepView
from paceline.llm.speculator import Speculator
from paceline.llm.structured import GrammarCompiler
from paceline.llm.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Model:
    """A model on the device and its key-value pool, without anything that decides."""

    folder: Path
    shape: ModelConfig
    tokenizer: Tokenizer
    defaults: GenerationDefaults
    runner: Runner
    pool: BlockPool
    info: ModelInfo


def open_model(config: EngineConfig) -> Model:
    """The model of a configuration; ``config.model`` is a folder."""
    folder = Path(config.model)
    model = shape(config, folder)
    num_blocks = pool_blocks(config, model, kv_itemsize(model.dtype))
    name, runner = open_runner(config, model, open_weights(folder, model), num_blocks=num_blocks)
    info = ModelInfo(
        name=folder.name,
        folder=config.model,
        family=model.family,
        runner=name,
        dtype=model.dtype,
        quantize=config.quantize,
        max_model_len=model.max_model_len,
        vocab_size=model.vocab_size,
        num_blocks=num_blocks,
        weights_bytes=runner.weights_bytes,
        kv_bytes=runner.kv_bytes,
    )
    pool = BlockPool(num_blocks, prefix_caching=config.prefix_caching)
    return Model(folder, model, Tokenizer.from_folder(folder), read_generation(folder), runner, pool, info)


def open_proposers(model: Model, config: EngineConfig) -> dict[str, Proposer]:
    """What the configuration brings along; nothing for "off"."""
    if config.speculation == "off":
        return {}
    setup = Setup(config, model.shape, model.folder)
    made = {name: PROPOSERS[name](setup) for name in PROPOSERS}
    return {name: proposer for name, proposer in made.items() if proposer is not None}


def make_core(
    model: Model, config: EngineConfig, proposers: Mapping[str, Proposer], watch: Callable[[Policy], Policy]
) -> EngineCore:
    """An engine over ``model`` that decides for itself; all engines of a model share its pool and cached prefixes."""
    scheduler = make_scheduler(config, model.shape, model.info.num_blocks)
    scheduler.pool = model.pool
    policy = make_policy(config.speculation, PolicySetup(tuple(proposers), scheduler.cost, config.max_draft))
    clock = WallClock()
    speculator = Speculator(
        config.speculation, watch(policy), proposers, scheduler, clock,
        vocab_size=model.info.vocab_size, max_draft=config.max_draft,
    )  # fmt: skip
    model.runner.wants_hidden |= speculator.wants_hidden
    compiler = GrammarCompiler(model.tokenizer, model.info.vocab_size, model.defaults.eos_token_ids)
    outputs = OutputFactory(model.tokenizer, compiler, model.info.vocab_size, model.defaults.eos_token_ids)
    return EngineCore(model.info, model.runner, scheduler, outputs, speculator, clock)


@final
class Watched:
    """A policy that is timed, and whose choice of every step is kept.

    ``last`` is (sequences that decode, nodes to verify) of the step that was decided last; whoever
    reads it may set it to None.
    """

    def __init__(self, inner: Policy) -> None:
        self._inner = inner
        self.last: tuple[int, int] | None = None
        self.reset()

    def reset(self) -> None:
        """Forgets times and counts."""
        self.seconds = 0.0  # in all its calls
        self.draft_s = 0.0  # in proposers
        self.num_steps = 0
        self.num_awake = 0  # steps in which it did not rest

    def rests(self, num_decoding: int) -> bool:
        began = time.perf_counter()
        answer = self._inner.rests(num_decoding)
        self.seconds += time.perf_counter() - began
        self.num_steps += 1
        self.num_awake += not answer
        self.last = num_decoding, 0
        return answer

    def order(self, step: StepView) -> Sequence[Ask]:
        began = time.perf_counter()
        answer = self._inner.order(step)
        self.seconds += time.perf_counter() - began
        return answer

    def choose(self, step: StepView, proposals: Sequence[Proposal], draft_s: float) -> Mapping[int, DraftTree]:
        began = time.perf_counter()
        answer = self._inner.choose(step, proposals, draft_s)
        self.seconds += time.perf_counter() - began
        if self.last is not None:
            self.last = self.last[0], sum(map(len, answer.values()))
        return answer

    def learn(self, step: StepView, result: StepResult) -> None:
        began = time.perf_counter()
        self._inner.learn(step, result)
        self.seconds += time.perf_counter() - began
        self.draft_s += sum(call.seconds for call in result.calls)

    def begin(self, context: Context) -> None:
        began = time.perf_counter()
        self._inner.begin(context)
        self.seconds += time.perf_counter() - began

    def finish(self, context: Context) -> None:
        began = time.perf_counter()
        self._inner.finish(context)
        self.seconds += time.perf_counter() - began

    def explain(self) -> Explanation:
        return self._inner.explain()
