"""From a configuration to an engine that is ready to step: the part's composition root."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from paceline.clock import WallClock
from paceline.decision.linear import Linear
from paceline.errors import ConfigError
from paceline.llm.blocks import BlockPool
from paceline.llm.chat import ChatTemplate
from paceline.llm.chunking import ChunkPolicy
from paceline.llm.config import EngineConfig
from paceline.llm.core import EngineCore
from paceline.llm.memory import pool_blocks
from paceline.llm.messages import ModelInfo
from paceline.llm.model.checkpoint import open_weights
from paceline.llm.model.config import ModelConfig
from paceline.llm.model.families import read_config
from paceline.llm.model.generation import GenerationDefaults, read_generation
from paceline.llm.model.hub import resolve
from paceline.llm.output import OutputFactory
from paceline.llm.request import SamplingParams
from paceline.llm.runner import kv_itemsize, open_runner
from paceline.llm.scheduler import Limits, Scheduler
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
    return EngineCore(info, runner, make_scheduler(config, model, num_blocks), outputs, WallClock())


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
    scales = [float(config.max_batched_tokens), float(num_blocks * 16), float(config.max_num_seqs)]
    chunking = ChunkPolicy(Linear(scales), max_step_s=config.max_step_s)
    return Scheduler(BlockPool(num_blocks, prefix_caching=config.prefix_caching), limits, chunking)


def default_params(defaults: GenerationDefaults) -> SamplingParams:
    """Sampling as the model's folder proposes it.

    >>> default_params(GenerationDefaults(temperature=0.6)).temperature
    0.6
    """
    named = {name: getattr(defaults, name) for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")}
    return SamplingParams(**{name: value for name, value in named.items() if value is not None})
