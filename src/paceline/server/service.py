"""What every route of the language model works with, and the steps that all of them share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from paceline.errors import InvalidRequest
from paceline.llm.model.generation import GenerationDefaults
from paceline.server.body import decode_body
from paceline.server.exchange import Exchange
from paceline.server.faults import ClientGone, bad_request
from paceline.server.limits import Limits
from paceline.server.metrics import Compat, Metrics
from paceline.server.port import LanguageEngine, PromptTemplate, TextCodec
from paceline.server.traffic import Threads

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One served model and what belongs to it."""

    engine: LanguageEngine
    codec: TextCodec
    template: PromptTemplate
    defaults: GenerationDefaults
    limits: Limits
    metrics: Metrics
    model_name: str
    metrics_compat: Compat = "none"
    created: int = field(default_factory=lambda: int(time.time()))
    threads: Threads = field(init=False)

    def __post_init__(self) -> None:
        threads = Threads(self.limits.text_threads, self.limits.inline_chars, "text")
        object.__setattr__(self, "threads", threads)

    async def read(self, exchange: Exchange, kind: type[T]) -> T:
        """The body as a ``kind``, sent by a client that means this model."""
        try:
            raw = await exchange.read_json()
        except ClientGone:
            self.metrics.aborted("body")
            raise
        body = decode_body(kind, raw, self.limits)
        asked = getattr(body, "model", None)
        if asked is not None and asked != self.model_name:
            message = f"this server has no such model; it serves {self.model_name}"
            raise bad_request(message, "model", status=404, code="model_not_found")
        return body

    async def encode(
        self, text: str, param: str, *, allow_special: bool = False, add_special: bool = False
    ) -> list[int]:
        """Token ids of a text. InvalidRequest if it cannot fit the model's context."""
        limit = self.engine.info.max_model_len
        if not self.codec.may_fit(text, limit):
            message = f"the prompt is longer than the model's context of {limit} tokens"
            raise InvalidRequest(message, param=param, code="context_length_exceeded")
        return await self.threads.run(
            len(text), self.codec.encode, text, allow_special=allow_special, add_special=add_special
        )

    def timeout_s(self, asked: float | None) -> float:
        """A request's own limit in seconds, bounded by the server's."""
        longest = self.limits.request_timeout_s
        if asked is None:
            return longest
        if not 0 < asked <= longest:
            raise InvalidRequest(f"timeout must be in (0, {longest:g}] seconds, got {asked}", param="timeout")
        return asked
