"""``POST /v1/chat/completions``."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any, Literal, final

import msgspec
from starlette.routing import Route

from paceline.errors import InvalidRequest
from paceline.llm.request import MAX_TOP_LOGPROBS, Delta, Request
from paceline.server.conversation import conversation_ids
from paceline.server.exchange import Exchange
from paceline.server.generate import Call, Sample, Usage, include_usage, respond
from paceline.server.grammar import grammar_of
from paceline.server.logprobs import chat_logprobs, prompt_logprobs
from paceline.server.routes.endpoint import route
from paceline.server.sampling import check_length, sampling_params
from paceline.server.schema import ChatBody
from paceline.server.service import Service
from paceline.server.tools import ToolCall, ToolCallReader, ToolUse, forced_calls, tool_use

Unset = msgspec.UnsetType
_Kind = Literal["chat.completion", "chat.completion.chunk"]


class _Message(msgspec.Struct, kw_only=True):
    role: Literal["assistant"] | Unset = msgspec.UNSET  # said once in a stream
    content: str | Unset | None = msgspec.UNSET
    tool_calls: list[ToolCall] | Unset = msgspec.UNSET


class _Choice(msgspec.Struct, kw_only=True):
    index: int
    message: _Message | Unset = msgspec.UNSET
    delta: _Message | Unset = msgspec.UNSET
    logprobs: dict[str, Any] | None = None
    finish_reason: str | None = None
    stop_reason: str | int | Unset | None = msgspec.UNSET


class _Answer(msgspec.Struct, kw_only=True):
    id: str
    object: _Kind
    created: int
    model: str
    choices: list[_Choice]
    usage: Usage | Unset | None = msgspec.UNSET
    prompt_logprobs: list[dict[str, Any] | None] | Unset = msgspec.UNSET


def routes(service: Service) -> list[Route]:
    async def chat(exchange: Exchange) -> None:
        body = await service.read(exchange, ChatBody)
        tools = tool_use(body, service.limits)
        call = await _call(service, body, tools)
        await respond(exchange, service, call, _ChatForm(service, body, call, tools))

    return [route("POST", "/v1/chat/completions", chat)]


async def _call(service: Service, body: ChatBody, tools: ToolUse) -> Call:
    if body.echo:
        raise InvalidRequest("echo belongs to /v1/completions", param="echo", code="unsupported_parameter")
    if body.stream and body.prompt_logprobs is not None:
        raise InvalidRequest("prompt_logprobs are not streamed", param="prompt_logprobs")
    grammar = grammar_of(body, service.limits)
    if grammar is not None and tools.grammar is not None:
        raise InvalidRequest("a forced tool call and another output format exclude each other", param="tool_choice")
    max_tokens = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    info = service.engine.info
    params = sampling_params(
        body, service.defaults, service.limits, vocab_size=info.vocab_size, max_tokens=max_tokens,
        logprobs=_num_logprobs(body), prompt_logprobs=body.prompt_logprobs, grammar=tools.grammar or grammar,
    )  # fmt: skip
    timeout_s = service.timeout_s(body.timeout)
    with_usage = include_usage(body)
    token_ids = await conversation_ids(
        service, body.messages, tools.offered, body.chat_template_kwargs,
        add_generation_prompt=body.add_generation_prompt is not False,
    )  # fmt: skip
    check_length(len(token_ids), max_tokens, info.max_model_len, "messages")
    request = Request(
        request_id=f"chatcmpl-{secrets.token_hex(12)}", prompt=tuple(token_ids), params=params, timeout_s=timeout_s,
        cache_salt=body.cache_salt or "",
    )  # fmt: skip
    return Call((request,), bool(body.stream), with_usage, timeout_s)


def _num_logprobs(body: ChatBody) -> int | None:
    top = body.top_logprobs
    if top is not None and not 0 <= top <= MAX_TOP_LOGPROBS:
        raise InvalidRequest(f"top_logprobs must be in [0, {MAX_TOP_LOGPROBS}], got {top}", param="top_logprobs")
    if top is not None and not body.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs: true", param="top_logprobs")
    return (top or 0) if body.logprobs else None


@final
class _ChatForm:
    """Answers as chat completions, whole or in chunks."""

    def __init__(self, service: Service, body: ChatBody, call: Call, tools: ToolUse) -> None:
        self._codec = service.codec
        self._id, self._created, self._model = call.requests[0].request_id, int(time.time()), service.model_name
        self._tools = tools
        self._include_usage = call.include_usage
        self._with_logprobs = bool(body.logprobs)
        self._with_prompt_logprobs = body.prompt_logprobs is not None
        self._readers = [self._reader() for _ in range(call.num_samples)]
        self._forced = [""] * call.num_samples  # a forced call is sent when it is whole

    def _reader(self) -> ToolCallReader | None:
        return ToolCallReader(None if self._tools.parallel else 1) if self._tools.parses else None

    def opening(self, num_choices: int) -> bytes:
        opening = _Message(role="assistant", content="")
        return b"".join(self._event(_Choice(index=i, delta=opening)) for i in range(num_choices))

    def events(self, choice: int, delta: Delta) -> bytes:
        parts, finish_reason = self._parts(choice, delta.text, delta.finish_reason)
        logprobs = chat_logprobs(delta.logprobs, self._codec) if self._with_logprobs and delta.logprobs else None
        data = b""
        for part in parts:
            message = _Message(content=part) if isinstance(part, str) else _Message(tool_calls=[part])
            data += self._event(_Choice(index=choice, delta=message, logprobs=logprobs))
            logprobs = None
        if finish_reason is not None or logprobs is not None:
            last = _Choice(index=choice, delta=_Message(), logprobs=logprobs, finish_reason=finish_reason)
            if finish_reason is not None:
                last.stop_reason = delta.stop_reason
            data += self._event(last)
        return data

    def _parts(self, choice: int, text: str, finish_reason: str | None) -> tuple[Sequence[str | ToolCall], str | None]:
        """What to send for ``text``, and the reason in the API's words."""
        if self._tools.forced is not None:
            self._forced[choice] += text
            return self._forced_parts(self._forced[choice], finish_reason) if finish_reason else ((), None)
        reader = self._readers[choice]
        if reader is None:
            return (text,) if text else (), finish_reason
        parts = reader.feed(text)
        if finish_reason is not None:
            parts += reader.close()
        return parts, "tool_calls" if finish_reason == "stop" and reader.num_calls else finish_reason

    def _forced_parts(self, text: str, finish_reason: str) -> tuple[Sequence[str | ToolCall], str]:
        calls = forced_calls(text, self._tools.forced or "")
        if calls is None:
            return (text,), finish_reason
        for index, call in enumerate(calls):
            call.index = index
        return calls, "tool_calls" if finish_reason == "stop" and not self._tools.forced else finish_reason

    def usage_event(self, usage: Usage) -> bytes:
        answer = self._answer("chat.completion.chunk", [])
        answer.usage = usage
        return _data(answer)

    def answer(self, samples: Sequence[Sample], first: Sequence[Delta], usage: Usage) -> object:
        choices = [self._choice(i, sample) for i, sample in enumerate(samples)]
        answer = self._answer("chat.completion", choices)
        answer.usage = usage
        if self._with_prompt_logprobs:
            answer.prompt_logprobs = prompt_logprobs(first[0].prompt_logprobs, self._codec)
        return answer

    def _choice(self, index: int, sample: Sample) -> _Choice:
        parts, finish_reason = self._parts(index, sample.text, sample.finish_reason)
        calls = [part for part in parts if isinstance(part, ToolCall)]
        for call in calls:
            call.index = msgspec.UNSET
        content = "".join(part for part in parts if isinstance(part, str))
        message = _Message(role="assistant", content=content if content or not calls else None)
        if calls:
            message.tool_calls = calls
        return _Choice(
            index=index,
            message=message,
            logprobs=chat_logprobs(sample.logprobs, self._codec) if self._with_logprobs else None,
            finish_reason=finish_reason,
            stop_reason=sample.stop_reason,
        )

    def _answer(self, kind: _Kind, choices: list[_Choice]) -> _Answer:
        return _Answer(id=self._id, object=kind, created=self._created, model=self._model, choices=choices)

    def _event(self, choice: _Choice) -> bytes:
        answer = self._answer("chat.completion.chunk", [choice])
        if self._include_usage:
            answer.usage = None
        return _data(answer)


def _data(answer: _Answer) -> bytes:
    return b"data: " + msgspec.json.encode(answer) + b"\n\n"
