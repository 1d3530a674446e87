"""From the bytes of a body to a typed value; strict, and every complaint names the field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from paceline.errors import InvalidRequest
from paceline.server.limits import Limits

T = TypeVar("T", bound=msgspec.Struct)

_AT_FIELD = re.compile(r" - at `(?:key` in `)?\$\.?([^`]*)`$")

# Fields whose silent loss would change the answer, with the values that ask for nothing.
_REFUSED: Mapping[str, tuple[object, ...]] = {
    "suffix": ("",),
    "functions": ([],),
    "function_call": ("none",),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "use_beam_search": (False,),
    "length_penalty": (1, 1.0),
    "early_stopping": (False,),
    "prompt_embeds": (),
    "mm_processor_kwargs": ({},),
    "truncate_prompt_tokens": (),
    "allowed_token_ids": (),
    "logits_processors": ([],),
    "guided_grammar": (),
    "guided_whitespace_pattern": (),
    "chat_template": (),  # a template is a program; only the model's own is run
    "documents": ([],),
    "continue_final_message": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "return_tokens_as_token_ids": (False,),
    "return_token_ids": (False,),
    "typical_p": (1, 1.0),
    "mirostat": (0,),
}


def decode_body(kind: type[T], raw: bytes, limits: Limits) -> T:
    """``raw`` as a ``kind``. Raises InvalidRequest, naming the field where there is one.

    Refused: wrong types, numbers out of range, NaN, lone surrogates, other encodings than UTF-8,
    trailing text, deep nesting, keys given twice (in bodies up to ``checked_bytes``; in larger ones
    the last counts) and fields that this server cannot honour. Other unknown fields are ignored, as
    clients of the OpenAI API expect.
    """
    with explained():
        value = msgspec.json.decode(raw, type=kind)
        if len(raw) <= limits.checked_bytes:
            json.loads(raw, object_pairs_hook=_unique)
        _refuse_unsupported(raw)
    return value


@contextmanager
def explained() -> Iterator[None]:
    """Inside, what a decoder complains of becomes InvalidRequest."""
    try:
        yield
    except msgspec.ValidationError as error:
        message, param = _explain(str(error))
        raise InvalidRequest(message, param=param, code="invalid_type") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply", code="too_deep") from None
    except (msgspec.DecodeError, ValueError):  # UnicodeDecodeError among them
        raise InvalidRequest("the body is not valid JSON in UTF-8", code="invalid_json") from None


def _explain(text: str) -> tuple[str, str | None]:
    """The decoder's complaint without its path, and the path as a field name.

    >>> _explain("Expected `int | null`, got `str` - at `$.n`")
    ('n: expected int, got str', 'n')
    """
    found = _AT_FIELD.search(text)
    param = found[1] if found and found[1] else None
    reason = (text[: found.start()] if found else text).replace("`", "").replace(" | null", "")
    reason = reason[:1].lower() + reason[1:]
    missing = re.fullmatch(r"object missing required field (\w+)", reason)
    if missing:
        param = missing[1] if param is None else f"{param}.{missing[1]}"
        reason = "is required"
    return (f"{param}: {reason}" if param else reason), param


def _unique(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise InvalidRequest("a key is given twice", param=key[:64], code="duplicate_key")
        seen.add(key)


def _refuse_unsupported(raw: bytes) -> None:
    fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    for name in _REFUSED.keys() & fields.keys():
        value = fields[name]
        if len(value) > 64 or msgspec.json.decode(value) not in (None, *_REFUSED[name]):
            raise InvalidRequest(f"{name} is not supported by this server", param=name, code="unsupported_parameter")


def free_form(raw: msgspec.Raw, param: str, limits: Limits) -> Any:
    """A value of any shape, bounded in size and depth. ``None`` where the field was not sent."""
    if not raw:
        return None
    if len(raw) > limits.free_form_bytes:
        raise InvalidRequest(f"{param} may hold {limits.free_form_bytes} bytes", param=param, code="too_large")
    value = msgspec.json.decode(raw)
    if not _fits(value, limits.max_depth):
        raise InvalidRequest(f"{param} is nested deeper than {limits.max_depth}", param=param, code="too_deep")
    return value


def _fits(value: Any, depth: int) -> bool:
    match value:
        case dict():
            return depth > 0 and all(_fits(item, depth - 1) for item in value.values())
        case list():
            return depth > 0 and all(_fits(item, depth - 1) for item in value)
        case _:
            return True
