"""What is asked of the engine and what it answers: values that cross the process boundary.

Every value is a frozen ``msgspec`` struct, so the same types travel in frames over the
engine's socket and between functions. Ranges are checked here, once, for every surface.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from paceline.errors import InvalidRequest

FinishReason = Literal["stop", "length", "abort", "deadline", "error"]

MAX_SAMPLES = 128
MAX_TOP_LOGPROBS = 20
MAX_PROMPT_LOGPROBS = 2**19  # of one prompt, alternatives included: 8 MiB, half of what a frame holds
MAX_STOP_STRINGS = 16
MAX_STOP_CHARS = 256
MAX_BIASED_TOKENS = 1024
MAX_BAD_WORDS = 128
MAX_GRAMMAR_BYTES = 64 * 1024
MAX_CHOICES = 4096


class Grammar(msgspec.Struct, frozen=True):
    """A constraint on the output: a JSON schema, any JSON object, a regex or a list of choices.

    ``text`` holds the schema as JSON, the regex, or the JSON list of choices; it is empty for
    ``json_object``.
    """

    kind: Literal["json_schema", "json_object", "regex", "choice"]
    text: str = ""


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens are drawn and when to stop; one field, one meaning, as in the OpenAI and vLLM APIs.

    >>> SamplingParams(temperature=0.0).greedy
    True
    >>> SamplingParams(top_p=2.0)
    Traceback (most recent call last):
        ...
    paceline.errors.InvalidRequest: top_p must be in (0, 1], got 2.0
    """

    max_tokens: int | None = None  # None: up to the model's context
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    bad_words: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop: bool = False  # keep the stop string in the text
    ignore_eos: bool = False
    seed: int | None = None
    n: int = 1
    logprobs: int | None = None  # None: none; k: the chosen token's and the k best
    prompt_logprobs: int | None = None
    grammar: Grammar | None = None
    speculation: bool = True  # False: never draft for this request; the answer is the same

    def __post_init__(self) -> None:
        for name, low, high in _INT_RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InvalidRequest(f"{name} must be in [{low}, {high}], got {value}", param=name)
        for name, low_f, high_f, low_open in _FLOAT_RANGES:
            value = getattr(self, name)
            inside = (low_f < value if low_open else low_f <= value) and value <= high_f
            if not (math.isfinite(value) and inside):
                bracket = "(" if low_open else "["
                raise InvalidRequest(f"{name} must be in {bracket}{low_f:g}, {high_f:g}], got {value}", param=name)
        self._check_lists()

    def _check_lists(self) -> None:
        if len(self.stop) > MAX_STOP_STRINGS:
            raise InvalidRequest(f"stop holds at most {MAX_STOP_STRINGS} strings, got {len(self.stop)}", param="stop")
        if any(not 0 < len(text) <= MAX_STOP_CHARS for text in self.stop):
            raise InvalidRequest(f"every stop string needs 1 to {MAX_STOP_CHARS} characters", param="stop")
        if len(self.logit_bias) > MAX_BIASED_TOKENS:
            raise InvalidRequest(
                f"logit_bias holds at most {MAX_BIASED_TOKENS} tokens, got {len(self.logit_bias)}", param="logit_bias"
            )
        if any(not (math.isfinite(bias) and abs(bias) <= 100.0) for bias in self.logit_bias.values()):
            raise InvalidRequest("every logit_bias must be in [-100, 100]", param="logit_bias")
        if len(self.bad_words) > MAX_BAD_WORDS or any(not 0 < len(word) <= MAX_STOP_CHARS for word in self.bad_words):
            raise InvalidRequest(
                f"bad_words holds at most {MAX_BAD_WORDS} strings of 1 to {MAX_STOP_CHARS} characters",
                param="bad_words",
            )
        if len(self.stop_token_ids) > MAX_BIASED_TOKENS:
            raise InvalidRequest(f"stop_token_ids holds at most {MAX_BIASED_TOKENS} ids", param="stop_token_ids")
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InvalidRequest(
                f"min_tokens must be at most max_tokens = {self.max_tokens}, got {self.min_tokens}", param="min_tokens"
            )

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0


_INT_RANGES = (
    ("max_tokens", 1, 2**31 - 1),
    ("min_tokens", 0, 2**31 - 1),
    ("top_k", 0, 2**31 - 1),
    ("n", 1, MAX_SAMPLES),
    ("logprobs", 0, MAX_TOP_LOGPROBS),
    ("prompt_logprobs", 0, MAX_TOP_LOGPROBS),
    ("seed", -(2**63), 2**63 - 1),
)
_FLOAT_RANGES = (  # name, low, high, low is excluded
    ("temperature", 0.0, 100.0, False),
    ("top_p", 0.0, 1.0, True),
    ("min_p", 0.0, 1.0, False),
    ("presence_penalty", -2.0, 2.0, False),
    ("frequency_penalty", -2.0, 2.0, False),
    ("repetition_penalty", 0.0, 10.0, True),
)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt and how to continue it.

    ``timeout_s`` counts from submission; ``cache_salt`` keeps this request's prefix-cache blocks
    apart from those of other salts.
    """

    request_id: str
    prompt: tuple[int, ...]  # token ids
    params: SamplingParams
    timeout_s: float | None = None
    cache_salt: str = ""

    def __post_init__(self) -> None:
        count = self.params.prompt_logprobs
        if count is not None and len(self.prompt) * (count + 1) > MAX_PROMPT_LOGPROBS:
            raise InvalidRequest(
                f"prompt_logprobs must be lower for {len(self.prompt)} prompt tokens, got {count}: "
                f"tokens times alternatives may be {MAX_PROMPT_LOGPROBS}",
                param="prompt_logprobs",
            )


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """The chosen token's log-probability and the best alternatives, best first."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Delta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one step added to sample ``index`` of a request.

    The last delta of a sample has a ``finish_reason``; ``stop_reason`` is the stop string or stop
    token id that ended it. ``error`` says what failed when the reason is ``"error"``.
    """

    request_id: str
    index: int = 0
    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob | None, ...] = ()  # once, with the first delta of sample 0
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    num_cached_tokens: int = 0
    queued_s: float = 0.0  # from submission to the first step; with the first delta of a sample
    error: str | None = None
    num_drafted: int = 0  # draft tokens verified for this sample; with its last delta
    num_accepted: int = 0  # of them, accepted
