"""From a configuration to an engine that is ready to step: the part's composition root."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from paceline.clock import Clock, WallClock
from paceline.errors import ConfigError
from paceline.llm.blocks import BlockPool
from paceline.llm.chat import ChatTemplate
from paceline.llm.chunking import ChunkPolicy
from paceline.llm.config import EngineConfig
from paceline.llm.core import EngineCore
from paceline.llm.cost_file import load_profile, profile_path
from paceline.llm.draft.proposer import Setup, open_proposers
from paceline.llm.memory import pool_blocks
from paceline.llm.messages import ModelInfo
from paceline.llm.model.checkpoint import open_weights
from paceline.llm.model.config import ModelConfig
from paceline.llm.model.families import read_config
from paceline.llm.model.generation import GenerationDefaults, read_generation
from paceline.llm.model.hub import resolve
from paceline.llm.output import OutputFactory
from paceline.llm.policies import make_policy
from paceline.llm.profile import KeptProfile, Profiler
from paceline.llm.request import SamplingParams
from paceline.llm.runner import Runner, kv_itemsize, open_runner
from paceline.llm.scheduler import Limits, Scheduler
from paceline.llm.speculation import PolicySetup
from paceline.llm.speculator import Speculator
from paceline.llm.step_cost import make_step_cost
from paceline.llm.structured import GrammarCompiler
from paceline.llm.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An engine and the text side that belongs to it."""

    core: EngineCore
    tokenizer: Tokenizer
    template: ChatTemplate
    defaults: GenerationDefaults


def load(config: EngineConfig) -> LoadedModel:
    """Loads everything in-process use needs. Raises ConfigError, ModelError or ResourceError."""
    folder = resolve(config.model)
    model = shape(config, folder)
    tokenizer = Tokenizer.from_folder(folder)
    defaults = read_generation(folder)
    template = ChatTemplate.from_folder(folder, tokenizer)
    return LoadedModel(load_core(config, model, folder, tokenizer, defaults), tokenizer, template, defaults)


def load_core(
    config: EngineConfig, model: ModelConfig, folder: Path, tokenizer: Tokenizer, defaults: GenerationDefaults
) -> EngineCore:
    """Packs the weights, sizes the KV pool and joins scheduler, runner and outputs."""
    weights = open_weights(folder, model)
    num_blocks = pool_blocks(config, model, kv_itemsize(model.dtype))
    name, runner = open_runner(config, model, weights, num_blocks=num_blocks)
    info = ModelInfo(
        name=config.name or folder.name,
        folder=str(folder),
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
    outputs = OutputFactory(
        tokenizer, GrammarCompiler(tokenizer, model.vocab_size, defaults.eos_token_ids), model.vocab_size,
        defaults.eos_token_ids,
    )  # fmt: skip
    clock = WallClock()
    scheduler = make_scheduler(config, model, num_blocks)
    speculator = make_speculator(config, model, folder, scheduler, clock)
    runner.wants_hidden = speculator.wants_hidden
    profile = None if config.speculation == "off" else open_profile(config, name, runner, scheduler)
    return EngineCore(info, runner, scheduler, outputs, speculator, clock, profile)


def shape(config: EngineConfig, folder: Path) -> ModelConfig:
    """The network of ``folder`` with what the configuration overrides."""
    stored = read_config(folder)
    length = config.max_model_len or stored.max_model_len
    if length > stored.max_model_len:
        raise ConfigError(f"max_model_len is {length}, but the model was made for {stored.max_model_len}")
    dtype = stored.dtype if config.dtype == "auto" else config.dtype
    return dataclasses.replace(stored, max_model_len=length, dtype=dtype)


def make_scheduler(config: EngineConfig, model: ModelConfig, num_blocks: int) -> Scheduler:
    """The scheduler of a configuration, with a cost model that starts from nothing."""
    limits = Limits(
        max_num_seqs=config.max_num_seqs,
        max_batched_tokens=config.max_batched_tokens,
        max_model_len=model.max_model_len,
        max_queued_requests=config.max_queued_requests,
        max_queued_tokens=config.max_queued_tokens,
    )
    cost = make_step_cost(config, model)
    chunking = ChunkPolicy(cost, max_step_s=config.max_step_s)
    return Scheduler(BlockPool(num_blocks, prefix_caching=config.prefix_caching), limits, chunking, cost)


def open_profile(config: EngineConfig, name: str, runner: Runner, scheduler: Scheduler) -> KeptProfile:
    """What is known of this model's step times on this machine, and the means to know more."""
    path = profile_path(config, runner.config, name)
    profiler = Profiler(
        runner,
        scheduler.pool,
        scheduler.cost,
        max_rows=config.max_batched_tokens,
        max_num_seqs=config.max_num_seqs,
        max_step_s=config.max_step_s,
        known=load_profile(path),
    )
    return KeptProfile(profiler, path)


def make_speculator(
    config: EngineConfig, model: ModelConfig, folder: Path, scheduler: Scheduler, clock: Clock
) -> Speculator:
    """The policy of a configuration with every proposer that has something to offer for this model."""
    proposers = {} if config.speculation == "off" else open_proposers(Setup(config, model, folder))
    policy = make_policy(config.speculation, PolicySetup(tuple(proposers), scheduler.cost, config.max_draft))
    return Speculator(
        config.speculation, policy, proposers, scheduler, clock, vocab_size=model.vocab_size, max_draft=config.max_draft
    )


def default_params(defaults: GenerationDefaults) -> SamplingParams:
    """Sampling as the model's folder proposes it.

    >>> default_params(GenerationDefaults(temperature=0.6)).temperature
    0.6
    """
    named = {name: getattr(defaults, name) for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")}
    return SamplingParams(**{name: value for name, value in named.items() if value is not None})
