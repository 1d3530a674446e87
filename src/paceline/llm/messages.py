"""What the engine's process and its client say to each other, and what they say about the engine."""

from __future__ import annotations

import msgspec

from paceline.llm.request import Delta, Request


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may know about the loaded model. Sizes in bytes."""

    name: str
    folder: str
    family: str
    runner: str  # native or torch
    dtype: str
    quantize: str | None
    max_model_len: int
    vocab_size: int
    num_blocks: int
    weights_bytes: int
    kv_bytes: int


class EngineStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since the engine started, and gauges of now."""

    num_running: int = 0
    num_waiting: int = 0
    num_blocks: int = 0
    num_blocks_used: int = 0
    num_blocks_cached: int = 0
    num_prefix_queries: int = 0  # tokens
    num_prefix_hits: int = 0  # tokens
    num_preemptions: int = 0
    num_prompt_tokens: int = 0
    num_generation_tokens: int = 0
    num_steps: int = 0
    num_rows: int = 0
    step_time_s: float = 0.0  # sum over steps
    num_failed_rows: int = 0  # logits that were not numbers
    num_leaked_blocks: int = 0  # used while nothing runs; must be 0
    resident_bytes: int = 0


class Submit(msgspec.Struct, frozen=True, tag="submit"):
    request: Request


class Abort(msgspec.Struct, frozen=True, tag="abort"):
    request_id: str


class AskStats(msgspec.Struct, frozen=True, tag="ask_stats"):
    pass


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    info: ModelInfo


class Deltas(msgspec.Struct, frozen=True, tag="deltas"):
    """Everything one step brought."""

    deltas: list[Delta]


class Refused(msgspec.Struct, frozen=True, tag="refused", kw_only=True):
    """A request that the engine did not take. Without ``retry_after_s`` the request itself is wrong."""

    request_id: str
    message: str
    param: str | None = None
    code: str = "invalid_value"
    retry_after_s: float | None = None


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    stats: EngineStats


ToEngine = Submit | Abort | AskStats
FromEngine = Loaded | Deltas | Refused | Stats
