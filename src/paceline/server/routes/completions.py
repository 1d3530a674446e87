"""``POST /v1/completions``."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any, Literal, cast, final

import msgspec
from starlette.routing import Route

from paceline.errors import InvalidRequest
from paceline.llm.request import Delta, Request, SamplingParams, TokenLogprob
from paceline.server.exchange import Exchange
from paceline.server.generate import Call, Sample, Usage, include_usage, respond
from paceline.server.grammar import grammar_of
from paceline.server.logprobs import LegacyLogprobs, prompt_logprobs
from paceline.server.routes.endpoint import route
from paceline.server.sampling import check_length, sampling_params
from paceline.server.schema import CompletionBody
from paceline.server.service import Service

_DEFAULT_MAX_TOKENS = 16  # the OpenAI API's


class _Choice(msgspec.Struct, kw_only=True):
    index: int
    text: str
    logprobs: dict[str, list[Any]] | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    prompt_logprobs: list[dict[str, Any] | None] | msgspec.UnsetType = msgspec.UNSET


class _Answer(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[_Choice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET


def routes(service: Service) -> list[Route]:
    async def complete(exchange: Exchange) -> None:
        body = await service.read(exchange, CompletionBody)
        prompts = await _prompts(service, body)
        params = _params(service, body)
        for _, token_ids in prompts:
            check_length(len(token_ids), params.max_tokens, service.engine.info.max_model_len, "prompt")
        timeout_s = service.timeout_s(body.timeout)
        answer_id = f"cmpl-{secrets.token_hex(12)}"
        requests = tuple(
            Request(
                request_id=f"{answer_id}-{position}", prompt=tuple(token_ids), params=params, timeout_s=timeout_s,
                cache_salt=body.cache_salt or "",
            )
            for position, (_, token_ids) in enumerate(prompts)
        )  # fmt: skip
        call = Call(requests, bool(body.stream), include_usage(body), timeout_s)
        texts = [text for text, _ in prompts]
        await respond(exchange, service, call, _CompletionForm(service, body, call, answer_id, texts))

    return [route("POST", "/v1/completions", complete)]


def _params(service: Service, body: CompletionBody) -> SamplingParams:
    scores_prompt = bool(body.echo) and body.logprobs is not None
    wanted = body.logprobs if scores_prompt else body.prompt_logprobs
    if body.stream and (body.prompt_logprobs is not None or (scores_prompt and (body.n or 1) > 1)):
        raise InvalidRequest("log-probabilities of the prompt are not streamed for this request", param="stream")
    only_echo = bool(body.echo) and body.max_tokens == 0  # scoring: one token is made and not shown
    max_tokens = 1 if only_echo else _DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    return sampling_params(
        body, service.defaults, service.limits, vocab_size=service.engine.info.vocab_size, max_tokens=max_tokens,
        logprobs=body.logprobs, prompt_logprobs=wanted, grammar=grammar_of(body, service.limits),
    )  # fmt: skip


async def _prompts(service: Service, body: CompletionBody) -> list[tuple[str | None, list[int]]]:
    """Every prompt as its text, if it came as text, and its token ids."""
    prompts = _split(body.prompt)
    limits = service.limits
    if not 0 < len(prompts) <= limits.max_prompts:
        raise InvalidRequest(f"1 to {limits.max_prompts} prompts, got {len(prompts)}", param="prompt")
    n = body.n or 1
    if len(prompts) * n > limits.max_sequences:
        message = f"prompts times n may be {limits.max_sequences}, got {len(prompts)} * {n}"
        raise InvalidRequest(message, param="n")
    add_special = body.add_special_tokens is not False
    vocab_size = service.engine.info.vocab_size
    found: list[tuple[str | None, list[int]]] = []
    for prompt in prompts:
        if not prompt:
            raise InvalidRequest("a prompt is empty", param="prompt", code="empty_prompt")
        if isinstance(prompt, str):
            found.append((prompt, await service.encode(prompt, "prompt", add_special=add_special)))
        elif min(prompt) < 0 or max(prompt) >= vocab_size:
            raise InvalidRequest(f"every token id must be in [0, {vocab_size})", param="prompt")
        else:
            found.append((None, prompt))
    return found


def _split(prompt: str | list[str | int | list[int]]) -> list[str] | list[list[int]]:
    """The prompts one by one.

    >>> _split("a"), _split([1, 2]), _split([[1], [2]])
    (['a'], [[1, 2]], [[1], [2]])
    """
    if isinstance(prompt, str):
        return [prompt]
    kinds = set(map(type, prompt))
    if len(kinds) > 1:
        raise InvalidRequest("several prompts are all text or all token ids", param="prompt", code="invalid_type")
    return [cast(list[int], prompt)] if kinds == {int} else cast(list[str], prompt)


@final
class _CompletionForm:
    """Answers in the older spelling of the API."""

    def __init__(
        self, service: Service, body: CompletionBody, call: Call, answer_id: str, texts: Sequence[str | None]
    ) -> None:
        self._codec = service.codec
        self._call = call
        self._id, self._created, self._model = answer_id, int(time.time()), service.model_name
        self._echo = [self._prompt_text(position, text) if body.echo else "" for position, text in enumerate(texts)]
        self._only_echo = bool(body.echo) and body.max_tokens == 0
        self._scores_prompt = bool(body.echo) and body.logprobs is not None
        self._with_logprobs = body.logprobs is not None
        self._with_prompt_logprobs = body.prompt_logprobs is not None
        num_choices = len(call.requests) * call.num_samples
        self._logprobs = [LegacyLogprobs(service.codec) for _ in range(num_choices)]

    def _prompt_text(self, position: int, text: str | None) -> str:
        return self._codec.decode(self._call.requests[position].prompt) if text is None else text

    def opening(self, num_choices: int) -> bytes:
        if self._scores_prompt or not any(self._echo):
            return b""
        choices = [_Choice(index=i, text=self._echo[i // self._call.num_samples]) for i in range(num_choices)]
        return b"".join(map(self._event, choices))

    def events(self, choice: int, delta: Delta) -> bytes:
        text, logprobs = self._part(choice, delta, delta.prompt_logprobs)
        if not (text or delta.finish_reason or delta.logprobs):
            return b""
        return self._event(self._choice(choice, text, logprobs, delta))

    def usage_event(self, usage: Usage) -> bytes:
        return _data(self._answer([], usage))

    def answer(self, samples: Sequence[Sample], first: Sequence[Delta], usage: Usage) -> object:
        choices = []
        for index, sample in enumerate(samples):
            position = index // self._call.num_samples
            text, logprobs = self._part(index, sample, first[position].prompt_logprobs)
            echo = "" if self._scores_prompt else self._echo[position]
            choices.append(self._choice(index, echo + text, logprobs, sample))
            if self._with_prompt_logprobs:
                choices[-1].prompt_logprobs = prompt_logprobs(first[position].prompt_logprobs, self._codec)
        return self._answer(choices, usage)

    def _part(
        self, choice: int, part: Delta | Sample, prompt_entries: Sequence[TokenLogprob | None]
    ) -> tuple[str, dict[str, list[Any]] | None]:
        """Text and log-probabilities; those of the prompt stand before them if it is scored."""
        text, token_ids = part.text, list(part.token_ids)
        entries: list[TokenLogprob | None] = list(part.logprobs)
        if self._only_echo:
            text, token_ids, entries = "", [], []
        if self._scores_prompt and prompt_entries:
            position = choice // self._call.num_samples
            text = self._echo[position] + text
            token_ids = [*self._call.requests[position].prompt, *token_ids]
            entries = [*prompt_entries, *entries]
        return text, self._logprobs[choice].render(token_ids, entries) if self._with_logprobs else None

    def _choice(self, index: int, text: str, logprobs: dict[str, list[Any]] | None, part: Delta | Sample) -> _Choice:
        finish_reason = "length" if self._only_echo and part.finish_reason else part.finish_reason
        return _Choice(
            index=index, text=text, logprobs=logprobs, finish_reason=finish_reason, stop_reason=part.stop_reason
        )

    def _answer(self, choices: list[_Choice], usage: Usage | msgspec.UnsetType | None = msgspec.UNSET) -> _Answer:
        return _Answer(id=self._id, created=self._created, model=self._model, choices=choices, usage=usage)

    def _event(self, choice: _Choice) -> bytes:
        return _data(self._answer([choice], None if self._call.include_usage else msgspec.UNSET))


def _data(answer: _Answer) -> bytes:
    return b"data: " + msgspec.json.encode(answer) + b"\n\n"
