"""From engine requests to one HTTP answer, whole or as a stream; whoever leaves is forgotten at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, final

import msgspec

from paceline.errors import DeadlineExceeded, InvalidRequest
from paceline.llm.request import Delta, Request, TokenLogprob
from paceline.server.exchange import Exchange
from paceline.server.faults import ClientGone, Fault, Refused, unavailable
from paceline.server.metrics import Stopwatch
from paceline.server.port import DeltaSource, LanguageEngine
from paceline.server.schema import SamplingFields
from paceline.server.service import Service

_GRACE_S = 0.1  # the engine ends a late request itself; this is for an engine that does not answer
DONE = b"data: [DONE]\n\n"
_Item = tuple[int, Delta] | Exception | None  # None: a source has ended


class PromptTokensDetails(msgspec.Struct):
    cached_tokens: int = 0


class CompletionTokensDetails(msgspec.Struct):
    """Draft tokens that were verified: those that became part of the answer, and those that did not."""

    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(msgspec.Struct):
    """Token counts of one answer. Rejected drafts are no completion tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptTokensDetails = msgspec.field(default_factory=PromptTokensDetails)
    completion_tokens_details: CompletionTokensDetails = msgspec.field(default_factory=CompletionTokensDetails)


@dataclass(slots=True)
class Sample:
    """One finished continuation."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: str | int | None = None

    def add(self, delta: Delta) -> None:
        self.text += delta.text
        self.token_ids += delta.token_ids
        self.logprobs += delta.logprobs
        self.finish_reason = delta.finish_reason
        self.stop_reason = delta.stop_reason


@dataclass(frozen=True, slots=True)
class Call:
    """What one HTTP request asks of the engine: a request per prompt, each with the same ``n``."""

    requests: tuple[Request, ...]
    stream: bool
    include_usage: bool
    timeout_s: float

    @property
    def num_samples(self) -> int:
        return self.requests[0].params.n


def include_usage(body: SamplingFields) -> bool:
    """Whether a stream ends with its usage. InvalidRequest for stream options without a stream."""
    if body.stream_options is None:
        return False
    if not body.stream:
        raise InvalidRequest("stream_options needs stream: true", param="stream_options")
    return bool(body.stream_options.include_usage)


class Form(Protocol):
    """An API's spelling of answers. Choices are numbered prompt by prompt, sample by sample."""

    def opening(self, num_choices: int) -> bytes:
        """Events that come before any token."""
        ...

    def events(self, choice: int, delta: Delta) -> bytes:
        """Events for one delta, perhaps none."""
        ...

    def usage_event(self, usage: Usage) -> bytes: ...
    def answer(self, samples: Sequence[Sample], first: Sequence[Delta], usage: Usage) -> object:
        """The whole answer; ``first`` holds each prompt's first delta."""
        ...


async def respond(exchange: Exchange, service: Service, call: Call, form: Form) -> None:
    """Runs ``call`` and answers in ``form``. ClientGone if the client leaves before the end."""
    work = _stream(exchange, service, call, form) if call.stream else _collect(exchange, service, call, form)
    try:
        async with asyncio.timeout(call.timeout_s + _GRACE_S):
            await exchange.unless_gone(work)
    except ClientGone:
        service.metrics.aborted("stream" if call.stream else "plain")
        raise


async def _stream(exchange: Exchange, service: Service, call: Call, form: Form) -> None:
    tally = Tally(service, call, exchange.began)
    async with open_deltas(service.engine, call.requests) as deltas:
        async for position, delta in deltas:
            tally.see(position, delta)
            data = form.events(position * call.num_samples + delta.index, delta)
            if exchange.status == 0:  # not before the first token: until then errors have their own status
                await exchange.start_events()
                data = form.opening(len(call.requests) * call.num_samples) + data
            if data:
                await exchange.send_event(data)
    usage = tally.finish(exchange)
    await exchange.send_event((form.usage_event(usage) if call.include_usage else b"") + DONE)
    await exchange.end_events()


async def _collect(exchange: Exchange, service: Service, call: Call, form: Form) -> None:
    tally = Tally(service, call, exchange.began)
    samples = [Sample() for _ in range(len(call.requests) * call.num_samples)]
    first: list[Delta | None] = [None] * len(call.requests)
    async with open_deltas(service.engine, call.requests) as deltas:
        async for position, delta in deltas:
            tally.see(position, delta)
            samples[position * call.num_samples + delta.index].add(delta)
            if delta.index == 0 and first[position] is None:
                first[position] = delta
    usage = tally.finish(exchange)
    await exchange.send_json(form.answer(samples, [delta for delta in first if delta is not None], usage))


@final
class Tally:
    """Counts the deltas of a call, for its usage and for the metrics."""

    def __init__(self, service: Service, call: Call, began: float) -> None:
        self._requests = call.requests
        self._watches = [Stopwatch(service.metrics, len(r.prompt), began) for r in call.requests]
        self._cached = [0] * len(call.requests)
        self._num_tokens = self._num_drafted = self._num_accepted = 0

    def see(self, position: int, delta: Delta) -> None:
        """Raises what a failed delta means."""
        self._watches[position].see(delta)
        self._num_tokens += len(delta.token_ids)
        self._num_drafted += delta.num_drafted
        self._num_accepted += delta.num_accepted
        self._cached[position] = max(self._cached[position], delta.num_cached_tokens)
        match delta.finish_reason:
            case "deadline":
                raise DeadlineExceeded("deadline")
            case "abort":
                raise Refused(unavailable("the server gave this request up", "aborted", 1.0))
            case "error":
                message = "the model failed on this request"
                raise Refused(Fault(status=500, message=message, type="server_error", code="generation_failed"))

    def finish(self, exchange: Exchange) -> Usage:
        for watch in self._watches:
            watch.stop()
        num_prompt = sum(len(request.prompt) for request in self._requests)
        exchange.notes.update(prompt_tokens=num_prompt, completion_tokens=self._num_tokens)
        cached = PromptTokensDetails(sum(self._cached))
        drafted = CompletionTokensDetails(self._num_accepted, self._num_drafted - self._num_accepted)
        return Usage(num_prompt, self._num_tokens, num_prompt + self._num_tokens, cached, drafted)


@asynccontextmanager
async def open_deltas(
    engine: LanguageEngine, requests: Sequence[Request]
) -> AsyncIterator[AsyncGenerator[tuple[int, Delta], None]]:
    """The deltas of several requests as they come, each with its request's position.

    Leaving the block aborts what has not ended.
    """
    async with AsyncExitStack() as stack:
        sources = []
        for request in requests:
            sources.append(engine.submit(request))
            stack.push_async_callback(sources[-1].aclose)
        async with aclosing(_one(sources[0]) if len(sources) == 1 else _merge(sources)) as deltas:
            yield deltas


async def _one(source: DeltaSource) -> AsyncGenerator[tuple[int, Delta], None]:
    async for delta in source:
        yield 0, delta


async def _merge(sources: Sequence[DeltaSource]) -> AsyncGenerator[tuple[int, Delta], None]:
    queue: asyncio.Queue[_Item] = asyncio.Queue()
    pumps = [asyncio.create_task(_pump(queue, *numbered)) for numbered in enumerate(sources)]
    try:
        num_open = len(pumps)
        while num_open:
            item = await queue.get()
            if item is None:
                num_open -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield item
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(queue: asyncio.Queue[_Item], position: int, source: DeltaSource) -> None:
    try:
        async for delta in source:
            queue.put_nowait((position, delta))
    except Exception as error:  # raised again where the queue is read
        queue.put_nowait(error)
    else:
        queue.put_nowait(None)
