"""From a body's fields to the engine's sampling parameters, with the model's own defaults in between."""

from __future__ import annotations

from collections.abc import Iterable

from paceline.errors import InvalidRequest
from paceline.llm.model.generation import GenerationDefaults
from paceline.llm.request import MAX_BIASED_TOKENS, Grammar, SamplingParams
from paceline.server.limits import Limits
from paceline.server.schema import SamplingFields

_FROM_MODEL = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_PLAIN = (
    "presence_penalty", "frequency_penalty", "logit_bias", "min_tokens", "ignore_eos", "seed", "n", "speculation",
)  # fmt: skip


def sampling_params(
    body: SamplingFields,
    defaults: GenerationDefaults,
    limits: Limits,
    *,
    vocab_size: int,
    max_tokens: int | None,
    logprobs: int | None = None,
    prompt_logprobs: int | None = None,
    grammar: Grammar | None = None,
) -> SamplingParams:
    """The body's values, else the model's, else the API's. InvalidRequest names the field that is out of range."""
    n = 1 if body.n is None else body.n
    if not 1 <= n <= limits.max_samples:
        raise InvalidRequest(f"n must be in [1, {limits.max_samples}], got {n}", param="n")
    if body.best_of is not None and body.best_of != n:
        raise InvalidRequest("best_of is supported only where it equals n", param="best_of")
    _check_ids(body.logit_bias or (), vocab_size, "logit_bias")
    _check_ids(body.stop_token_ids or (), vocab_size, "stop_token_ids")
    given = {name: getattr(body, name) for name in _PLAIN}
    for name in _FROM_MODEL:
        value = getattr(body, name)
        given[name] = getattr(defaults, name) if value is None else value
    if given["top_k"] == -1:  # vLLM's word for "all"
        given["top_k"] = 0
    return SamplingParams(
        max_tokens=max_tokens,
        stop=_stop(body.stop),
        bad_words=tuple(body.bad_words or ()),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        include_stop=bool(body.include_stop_str_in_output),
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        grammar=grammar,
        **{name: value for name, value in given.items() if value is not None},
    )


def _stop(stop: str | list[str] | None) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _check_ids(token_ids: Iterable[int], vocab_size: int, param: str) -> None:
    ids = list(token_ids)
    if len(ids) > MAX_BIASED_TOKENS:
        raise InvalidRequest(f"{param} holds at most {MAX_BIASED_TOKENS} tokens, got {len(ids)}", param=param)
    if any(not 0 <= token_id < vocab_size for token_id in ids):
        raise InvalidRequest(f"every token id of {param} must be in [0, {vocab_size})", param=param)


def check_length(num_prompt: int, max_tokens: int | None, max_model_len: int, param: str) -> None:
    """Refuses what cannot fit the model's context instead of cutting it silently."""
    if num_prompt == 0:
        raise InvalidRequest(f"{param} is empty", param=param, code="empty_prompt")
    if num_prompt >= max_model_len:
        message = f"the prompt has {num_prompt} tokens; the model's context of {max_model_len} leaves no room to answer"
        raise InvalidRequest(message, param=param, code="context_length_exceeded")
    if max_tokens is not None and num_prompt + max_tokens > max_model_len:
        message = (
            f"the prompt has {num_prompt} tokens and max_tokens is {max_tokens}: "
            f"together more than the model's context of {max_model_len}"
        )
        raise InvalidRequest(message, param="max_tokens", code="context_length_exceeded")
