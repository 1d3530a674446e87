"""From chat messages to token ids: rendered by the model's template, then encoded, both beside the event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from paceline.errors import InvalidRequest
from paceline.server.body import free_form
from paceline.server.limits import Limits
from paceline.server.schema import Message
from paceline.server.service import Service

_CHARS_PER_MESSAGE = 64  # what a template adds around one


async def conversation_ids(
    service: Service,
    messages: Sequence[Message],
    tools: Sequence[dict[str, Any]] | None,
    template_kwargs: msgspec.Raw,
    *,
    add_generation_prompt: bool,
) -> list[int]:
    """The prompt of a conversation. InvalidRequest names what the template refuses."""
    if not 0 < len(messages) <= service.limits.max_messages:
        message = f"1 to {service.limits.max_messages} messages, got {len(messages)}"
        raise InvalidRequest(message, param="messages")
    arguments = _template_arguments(template_kwargs, service.limits)
    plain = [
        {name: value for name, value in msgspec.to_builtins(item).items() if value is not None} for item in messages
    ]
    num_chars = sum(_num_chars(item) for item in messages)
    text = await service.threads.run(
        num_chars,
        service.template.render,
        plain,
        tools,
        add_generation_prompt=add_generation_prompt,
        **arguments,
    )
    return await service.encode(text, "messages", allow_special=True)


def _template_arguments(raw: msgspec.Raw, limits: Limits) -> dict[str, Any]:
    param = "chat_template_kwargs"
    arguments = free_form(raw, param, limits) or {}
    if not isinstance(arguments, dict):
        raise InvalidRequest(f"{param} is an object", param=param, code="invalid_type")
    if "add_generation_prompt" in arguments:
        raise InvalidRequest("add_generation_prompt is a field of the body", param=param, code="reserved_name")
    return arguments


def _num_chars(message: Message) -> int:
    match message.content:
        case None:
            return _CHARS_PER_MESSAGE
        case str(text):
            return len(text) + _CHARS_PER_MESSAGE
        case parts:
            return sum(len(part.text or "") for part in parts) + _CHARS_PER_MESSAGE
