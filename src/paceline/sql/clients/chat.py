"""One request of the OpenAI chat API: the body for an ask, and what an answer of a server means.

Servers differ in how they take a constraint on the output and what they call its limit. A dialect says it one way;
where a server refuses a field, the next dialect says it another.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, Final, Literal, NamedTuple

import msgspec

from paceline.sql.model import Ask

MAX_MESSAGE_CHARS: Final = 300

MAX_RETRY_AFTER_S: Final = 600.0  # whoever is told to come back later than that is told so

_LABEL: Final = "answer"  # the property that holds a choice where a server only takes JSON schemas
_TOO_LONG: Final = (
    "context_length",
    "context length",
    "context window",
    "maximum context",
    "too long",
    "max_model_len",
)
_UNKNOWN: Final = ("unknown", "unrecognized", "unsupported", "not support", "extra", "unexpected", "not permitted")
_CONSTRAINTS: Final = ("structured_outputs", "response_format", "json_schema")


class Meaning(Enum):
    """What a response is to the one who asked."""

    ANSWER = auto()
    MALFORMED = auto()  # not what was asked for: worth one more try
    REFUSED = auto()  # this request is wrong, and would be again
    UNFIT = auto()  # wrong too, unless another dialect helps
    BUSY = auto()
    FAILED = auto()  # the server's own fault
    HOPELESS = auto()  # every request would fare the same


class Reading(NamedTuple):
    """A response, understood. ``text`` is the answer, or the reason why there is none."""

    meaning: Meaning
    text: str
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a server wants to be told the limit and the constraint of an answer.

    >>> ask = Ask("", "Is it good?", 4, choices=("yes", "no"))
    >>> Dialect().body("m", ask)["structured_outputs"]
    {'choice': ['yes', 'no']}
    """

    constraint: Literal["structured_outputs", "response_format", "none"] = "structured_outputs"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True

    def body(self, model: str, ask: Ask) -> dict[str, Any]:
        """What to send; greedy, as equal requests shall have equal answers."""
        system = [{"role": "system", "content": ask.system}] if ask.system else []
        fields: dict[str, Any] = {
            "model": model,
            "messages": [*system, {"role": "user", "content": ask.user}],
            self.limit: ask.max_tokens,
        }
        if self.temperature:
            fields["temperature"] = 0
        return fields | self._constraint(ask)

    def _constraint(self, ask: Ask) -> dict[str, Any]:
        if self.constraint == "none" or not (ask.choices or ask.schema):
            return {}
        if ask.choices and self.constraint == "structured_outputs":  # vLLM's field: the answer is the bare label
            return {"structured_outputs": {"choice": list(ask.choices)}}
        schema = label_schema(ask.choices) if ask.choices else json.loads(ask.schema)
        named = {"name": "answer", "schema": schema, "strict": bool(ask.choices)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    def after(self, refusal: str) -> Dialect | None:
        """What to try when a server has refused a request with these words; None: they are about something else.

        >>> Dialect().after("Unrecognized request argument supplied: structured_outputs").constraint
        'response_format'
        """
        text = refusal.lower()
        if self.limit == "max_tokens" and "max_completion_tokens" in text:
            return replace(self, limit="max_completion_tokens")
        if not any(word in text for word in _UNKNOWN):
            return None
        if self.temperature and "temperature" in text:
            return replace(self, temperature=False)
        if any(word in text for word in _CONSTRAINTS):
            if self.constraint == "structured_outputs":
                return replace(self, constraint="response_format")
            if self.constraint == "response_format":
                return replace(self, constraint="none")
        return None


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: msgspec.Raw = msgspec.Raw()


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


def read(status: int, headers: Mapping[str, str], body: bytes, ask: Ask) -> Reading:
    """What a response means; ``headers`` by lower-case name."""
    if status == 200:
        return _read_answer(body, ask)
    text = f"the server answered {status}: {error_text(body)}"
    lower = text.lower()
    match status:
        case 408 | 425 | 429 | 503 | 529:
            pause = retry_after_s(headers, time.time())
            if "insufficient_quota" in lower or (pause or 0.0) > MAX_RETRY_AFTER_S:
                return Reading(Meaning.HOPELESS, f"{text} (come back in {pause or 0:.0f} s)" if pause else text)
            return Reading(Meaning.BUSY, text, retry_after_s=pause)
        case 400 | 413 | 422:
            too_long = any(word in lower for word in _TOO_LONG)
            return Reading(Meaning.REFUSED if too_long else Meaning.UNFIT, text)
        case _ if status >= 500:
            return Reading(Meaning.FAILED, text)
        case _:  # no such model or path, a wrong key, another address
            return Reading(Meaning.HOPELESS, text)


def _read_answer(body: bytes, ask: Ask) -> Reading:
    try:
        completion = msgspec.json.decode(body, type=_Completion)
        choice = completion.choices[0]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, IndexError):
        return Reading(Meaning.MALFORMED, "the server's answer is not a chat completion")
    counts = _count(completion.usage)
    if choice.message.refusal or choice.finish_reason == "content_filter":
        return Reading(
            Meaning.REFUSED, _short(choice.message.refusal or "the server's content filter stopped it"), *counts
        )
    text = choice.message.content or ""
    if choice.finish_reason == "length" and (ask.choices or ask.schema):
        return Reading(Meaning.REFUSED, f"the answer was cut at max_tokens = {ask.max_tokens}", *counts)
    if not text.strip():
        return Reading(Meaning.MALFORMED, "the answer is empty", *counts)
    fitting = _fit(text, ask)
    if fitting is None:
        wanted = "one of the choices" if ask.choices else "JSON"
        return Reading(Meaning.MALFORMED, f"the answer is not {wanted}: {_short(text)!r}", *counts)
    return Reading(Meaning.ANSWER, fitting, *counts)


def _count(raw: msgspec.Raw) -> tuple[int, int, int]:
    """Prompt, cached and output tokens; zeros where the server does not say."""
    try:
        usage = msgspec.json.decode(raw, type=_Usage)
    except msgspec.MsgspecError:
        return 0, 0, 0
    details = usage.prompt_tokens_details
    return usage.prompt_tokens, (details.cached_tokens or 0) if details else 0, usage.completion_tokens


def _fit(text: str, ask: Ask) -> str | None:
    """The answer as it was asked for; None if it is not that."""
    if ask.choices:
        return match_choice(text, ask.choices)
    if ask.schema:
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return None
    return text


def match_choice(text: str, choices: tuple[str, ...]) -> str | None:
    """The choice that a text names: bare, in quotes, with a full stop, in other case, or as ``{"answer": …}``.

    >>> match_choice(' "Yes." ', ("yes", "no"))
    'yes'
    >>> match_choice("Yes and no", ("yes", "no")) is None
    True
    """
    if text in choices:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    named = value.get(_LABEL) if isinstance(value, dict) else value
    if named in choices:
        return str(named)
    plain = str(text if isinstance(value, dict | list) else value).strip(" \t\r\n\"'`.").casefold()
    found = [choice for choice in choices if choice.strip(" .").casefold() == plain]
    return found[0] if len(found) == 1 else None


def label_schema(choices: tuple[str, ...]) -> dict[str, Any]:
    """An object with one of the choices in it: OpenAI's structured outputs are objects."""
    label = {"type": "string", "enum": list(choices)}
    return {"type": "object", "properties": {_LABEL: label}, "required": [_LABEL], "additionalProperties": False}


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the server asks to wait; None if it does not say. ``now`` is the calendar's time in seconds.

    >>> retry_after_s({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40.0)
    60.0
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def error_text(body: bytes) -> str:
    """What a server says about an error, in whichever of the usual shapes."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = body.decode("utf-8", "replace")
    if isinstance(value, dict):
        value = value.get("error") or value.get("detail") or value
    if isinstance(value, dict):
        value = " ".join(str(value[name]) for name in ("message", "param", "code") if value.get(name)) or value
    return _short(str(value)) or "nothing"


def _short(text: str) -> str:
    """Fit for one line of a message."""
    plain = " ".join(text.split())
    plain = "".join(character if character.isprintable() else "\ufffd" for character in plain[:MAX_MESSAGE_CHARS])
    return plain if len(plain) < MAX_MESSAGE_CHARS else plain + "…"
