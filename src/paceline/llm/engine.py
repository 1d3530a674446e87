"""The engine in the caller's own process: prompts in, text out, no server."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, final

import msgspec

from paceline.errors import ExecutionError, InvalidRequest
from paceline.llm.config import EngineConfig
from paceline.llm.loading import default_params, load
from paceline.llm.messages import EngineStats, ModelInfo
from paceline.llm.request import Delta, FinishReason, Request, SamplingParams, TokenLogprob

Prompt = str | Seq[int]

_UNBOUNDED = 2**62
_PROFILE_S = 0.2  # spent on step times, once per machine and model


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One continuation of a prompt."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    stop_reason: str | int | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What came of one prompt; ``text``, ``token_ids`` and ``finish_reason`` are those of its first sample."""

    samples: tuple[Sample, ...]
    num_prompt_tokens: int
    num_cached_tokens: int
    prompt_logprobs: tuple[TokenLogprob | None, ...] = ()

    @property
    def text(self) -> str:
        return self.samples[0].text

    @property
    def token_ids(self) -> tuple[int, ...]:
        return self.samples[0].token_ids

    @property
    def finish_reason(self) -> FinishReason:
        return self.samples[0].finish_reason


@final
class DeltaIterator(Iterator[Delta]):
    """The deltas of one request of an ``Engine``, until each sample has a finish reason.

    ``close`` aborts what has not ended; so does dropping the iterator.
    """

    def __init__(
        self,
        request: Request,
        take: Callable[[str], Delta],
        take_ready: Callable[[str], list[Delta]],
        abandoned: deque[str],
    ) -> None:
        self._request_id = request.request_id
        self._num_open = request.params.n
        self._take = take
        self._take_ready = take_ready
        self._abandoned = abandoned

    def __next__(self) -> Delta:
        if self._num_open == 0:
            raise StopIteration
        delta = self._take(self._request_id)
        self._count([delta])
        return delta

    def ready(self) -> list[Delta]:
        """The deltas that have come already; does not wait for more."""
        deltas = self._take_ready(self._request_id) if self._num_open else []
        self._count(deltas)
        return deltas

    def _count(self, deltas: Seq[Delta]) -> None:
        num_ended = sum(delta.finish_reason is not None for delta in deltas)
        self._num_open -= num_ended
        if num_ended and self._num_open == 0:
            self._abandoned.append(self._request_id)

    def close(self) -> None:
        """Ends the request at the engine's next step. Can be called twice."""
        if self._num_open:
            self._num_open = 0
            self._abandoned.append(self._request_id)  # a garbage collector may call this inside a step: no lock

    def __del__(self) -> None:
        self.close()


@final
class Engine:
    """A loaded model. Safe to call from several threads: their requests share the same steps.

    ``Engine("folder")`` or ``Engine("folder", quantize="int8")``: options are those of ``EngineConfig``.
    Raises ConfigError, ModelError or ResourceError. Use it as a context manager, or ``close`` it.

    >>> from paceline.llm import Engine, SamplingParams, embedded_model
    >>> with Engine(embedded_model()) as engine:
    ...     [answer] = engine.generate(["def add(a, b):"], SamplingParams(temperature=0.0, max_tokens=4))
    >>> answer.finish_reason
    'length'
    """

    def __init__(self, model: str | EngineConfig, **options: Any) -> None:
        config = model if isinstance(model, EngineConfig) else EngineConfig(model=model, **options)
        # A queue is bounded to protect a server from its clients; here the caller has all prompts in hand.
        loaded = load(msgspec.structs.replace(config, max_queued_requests=_UNBOUNDED, max_queued_tokens=_UNBOUNDED))
        self.tokenizer = loaded.tokenizer
        self.defaults = loaded.defaults
        self.template = loaded.template
        self._core = loaded.core
        self._core.measure(_PROFILE_S)
        self._lock = threading.Lock()  # whoever waits for tokens steps for all
        self._inboxes: dict[str, deque[Delta]] = {}
        self._abandoned: deque[str] = deque()
        self._ids = itertools.count()

    @property
    def info(self) -> ModelInfo:
        return self._core.info

    def generate(
        self, prompts: Seq[Prompt], params: SamplingParams | Seq[SamplingParams] | None = None
    ) -> list[Completion]:
        """Continues every prompt; the answers stand in the prompts' order.

        A prompt is text or token ids. ``params`` is one for all or one each; without, the model's own
        defaults hold. Raises InvalidRequest before anything runs if one prompt or option is wrong.
        """
        each = [params] * len(prompts) if params is None or isinstance(params, SamplingParams) else list(params)
        if len(each) != len(prompts):
            raise InvalidRequest(f"{len(prompts)} prompts need as many params, got {len(each)}", param="params")
        requests = [self._request(prompt, own) for prompt, own in zip(prompts, each, strict=True)]
        streams = self._open(requests)
        try:
            return [_collect(request, stream) for request, stream in zip(requests, streams, strict=True)]
        finally:
            with self._lock:  # if one failed, nobody will read the others
                for request in requests:
                    self._forget(request.request_id)

    def chat(
        self, conversations: Seq[Seq[Mapping[str, Any]]], params: SamplingParams | Seq[SamplingParams] | None = None
    ) -> list[Completion]:
        """Answers every conversation, a list of ``{"role": …, "content": …}`` rendered by the model's template."""
        return self.generate([self.template.encode(messages) for messages in conversations], params)

    def stream(self, prompt: Prompt, params: SamplingParams | None = None) -> DeltaIterator:
        """Deltas of one prompt as they come. Closing or dropping the iterator early aborts the request."""
        [stream] = self._open([self._request(prompt, params)])
        return stream

    def step(self) -> None:
        """Advances all open requests once, for callers that watch several streams by ``DeltaIterator.ready``."""
        with self._lock:
            self._advance()

    def stats(self) -> EngineStats:
        with self._lock:
            self._sweep()
            return self._core.stats()

    def close(self) -> None:
        """Gives the model's memory back; open streams end with ExecutionError."""
        with self._lock:
            self._core.close()
            self._inboxes.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request(self, prompt: Prompt, params: SamplingParams | None) -> Request:
        tokens = self.tokenizer.encode(prompt, add_special=True) if isinstance(prompt, str) else prompt
        return Request(
            request_id=f"local-{next(self._ids)}",
            prompt=tuple(tokens),
            params=params or default_params(self.defaults),
        )

    def _open(self, requests: Seq[Request]) -> list[DeltaIterator]:
        for request in requests:
            self._core.warm(request)
        with self._lock:
            try:
                for request in requests:
                    self._core.submit(request)
                    self._inboxes[request.request_id] = deque()
            except Exception:
                for request in requests:
                    self._forget(request.request_id)
                raise
        return [DeltaIterator(request, self._next, self._ready, self._abandoned) for request in requests]

    def _next(self, request_id: str) -> Delta:
        """The next delta of a request, stepping for everybody until it is there."""
        while True:
            with self._lock:
                inbox = self._inbox(request_id)
                if inbox:
                    return inbox.popleft()
                self._advance()

    def _ready(self, request_id: str) -> list[Delta]:
        with self._lock:
            inbox = self._inbox(request_id)
            deltas = list(inbox)
            inbox.clear()
            return deltas

    def _inbox(self, request_id: str) -> deque[Delta]:
        inbox = self._inboxes.get(request_id)
        if inbox is None:
            raise ExecutionError("the engine was closed")
        return inbox

    def _advance(self) -> None:
        self._sweep()
        for delta in self._core.step():
            self._inboxes[delta.request_id].append(delta)

    def _sweep(self) -> None:
        """Aborts the requests whose iterators were closed or dropped."""
        while self._abandoned:
            self._forget(self._abandoned.popleft())

    def _forget(self, request_id: str) -> None:
        if self._inboxes.pop(request_id, None) is not None:
            self._core.abort(request_id)


def _collect(request: Request, deltas: Iterator[Delta]) -> Completion:
    num_samples = request.params.n
    parts: list[list[Delta]] = [[] for _ in range(num_samples)]
    for delta in deltas:
        parts[delta.index].append(delta)
    return Completion(
        samples=tuple(_sample(part) for part in parts),
        num_prompt_tokens=len(request.prompt),
        num_cached_tokens=parts[0][0].num_cached_tokens,
        prompt_logprobs=parts[0][0].prompt_logprobs,
    )


def _sample(deltas: Seq[Delta]) -> Sample:
    last = deltas[-1]
    if last.finish_reason == "error":
        raise ExecutionError(last.error or "the request failed")
    assert last.finish_reason is not None
    return Sample(
        text="".join(delta.text for delta in deltas),
        token_ids=tuple(token for delta in deltas for token in delta.token_ids),
        finish_reason=last.finish_reason,
        stop_reason=last.stop_reason,
        logprobs=tuple(item for delta in deltas for item in delta.logprobs),
    )
