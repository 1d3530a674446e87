"""The engine's options; checked once, then never changed."""

from __future__ import annotations

import difflib
from importlib.metadata import entry_points
from typing import Literal

import msgspec

from paceline.errors import ConfigError

Quantize = Literal["int8", "int4"]

SPECULATION = ("auto", "off", "table", "ema", "smartspec")  # besides a number, and the policies of other packages
MAX_DRAFT = 63  # a tree and the row above it are 64 rows at most


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user may choose about an engine.

    ``model`` is a Hugging Face folder or a hub id. ``kv_memory`` (bytes) or ``num_blocks`` sizes the
    key-value pool; with neither, it holds ``max_num_seqs`` full contexts but takes at most a quarter
    of the memory that is free.

    >>> EngineConfig(model="m", max_num_seqs=0)
    Traceback (most recent call last):
        ...
    paceline.errors.ConfigError: max_num_seqs must be >= 1, got 0
    """

    model: str
    name: str | None = None  # shown to clients; the folder's name by default
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: as stored
    quantize: Quantize | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    runner: Literal["auto", "native", "torch"] = "auto"
    threads: int | None = None  # None: one per core
    max_model_len: int | None = None  # None: as trained
    max_num_seqs: int = 64
    max_batched_tokens: int = 512
    max_step_s: float = 0.25  # while sequences decode, prefill chunks keep steps below this
    kv_memory: int | None = None
    num_blocks: int | None = None
    prefix_caching: bool = True
    speculation: str = "auto"  # auto, off, a number of drafts, table, ema or smartspec
    draft: str | None = None  # a smaller model with the same tokens, to draft with
    max_draft: int = 16  # most tokens drafted ahead
    share_outputs: bool = True  # answers may serve as drafts for other requests of the same cache salt
    max_queued_requests: int = 256
    max_queued_tokens: int = 1_000_000

    def __post_init__(self) -> None:
        for name in (
            "threads", "max_model_len", "max_num_seqs", "max_batched_tokens", "kv_memory", "num_blocks",
            "max_queued_requests", "max_queued_tokens",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be >= 1, got {value}")
        if not self.max_step_s > 0:
            raise ConfigError(f"max_step_s must be > 0, got {self.max_step_s}")
        if self.max_batched_tokens < self.max_num_seqs:
            raise ConfigError(
                f"max_batched_tokens ({self.max_batched_tokens}) must be at least max_num_seqs ({self.max_num_seqs}): "
                "every running sequence takes one row a step"
            )
        if self.kv_memory is not None and self.num_blocks is not None:
            raise ConfigError("give kv_memory or num_blocks, not both")
        self._check_speculation()

    def _check_speculation(self) -> None:
        if not 1 <= self.max_draft <= MAX_DRAFT:
            raise ConfigError(f"max_draft must be in [1, {MAX_DRAFT}], got {self.max_draft}")
        if self.draft is not None and not self.draft.strip():
            raise ConfigError("draft must be a folder or a hub id, got nothing")
        if self.speculation.isdecimal():
            if not 1 <= int(self.speculation) <= self.max_draft:
                raise ConfigError(
                    f"speculation must be in [1, {self.max_draft}] as a number, got {self.speculation}: "
                    "off drafts nothing, and max_draft is the most"
                )
        elif self.speculation not in SPECULATION:
            known = (*SPECULATION, *sorted(entry_points(group="paceline.speculation_policy").names))
            if self.speculation not in known:
                near = difflib.get_close_matches(self.speculation, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                names = ", ".join(known)
                raise ConfigError(f"speculation must be a number or one of {names}, got {self.speculation!r}{hint}")
