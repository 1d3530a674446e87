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


class SpeculationStats(msgspec.Struct, frozen=True, kw_only=True):
    """What drafts were verified since the engine started, and what came of them."""

    policy: str
    num_steps: int = 0  # with at least one sequence that decodes
    num_plain_steps: int = 0  # of them, without a draft
    num_drafts: int = 0  # trees verified
    num_draft_tokens: int = 0  # their nodes
    num_accepted_tokens: int = 0
    accepted_by_depth: tuple[int, ...] = ()  # first draft token, second, …
    nodes_per_draft: tuple[int, ...] = ()  # trees with 1, 2, … nodes
    num_caught_up_tokens: int = 0  # computed by proposers only to keep up with the text
    draft_time_s: float = 0.0  # in all proposers
    num_failures: dict[str, int] = {}  # by proposer: exceptions and malformed drafts
    predicted_time_s: float = 0.0  # of steps whose time was predicted
    actual_time_s: float = 0.0  # of the same steps
    prediction_error: float = 0.0  # moving mean of |predicted - actual| / actual
    survival: dict[str, tuple[float, ...]] = {}  # by proposer: share of first, second, … tokens accepted
    numbers: dict[str, float] = {}  # the policy's own, by name


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of the speculation policy, for people."""

    at_s: float  # on the engine's clock
    option: str
    reason: str
    predicted_s: float
    actual_s: float
    num_sequences: int
    num_nodes: int


class SpeculationReport(msgspec.Struct, frozen=True, kw_only=True):
    """The counters and the last decisions, oldest first."""

    stats: SpeculationStats
    decisions: tuple[Decision, ...] = ()


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
    speculation: SpeculationStats | None = None  # None: switched off


class Submit(msgspec.Struct, frozen=True, tag="submit"):
    request: Request


class Abort(msgspec.Struct, frozen=True, tag="abort"):
    request_id: str


class AskStats(msgspec.Struct, frozen=True, tag="ask_stats"):
    pass


class AskSpeculation(msgspec.Struct, frozen=True, tag="ask_speculation"):
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


class Speculation(msgspec.Struct, frozen=True, tag="speculation"):
    report: SpeculationReport | None  # None: switched off


ToEngine = Submit | Abort | AskStats | AskSpeculation
FromEngine = Loaded | Deltas | Refused | Stats | Speculation
