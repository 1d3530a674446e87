"""Tool calls: which tools the model is told of, what is forced on its output, and what it called.

Models of the Qwen and Hermes families write ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import msgspec

from paceline.errors import InvalidRequest
from paceline.llm.request import Grammar
from paceline.server.body import free_form
from paceline.server.grammar import schema_grammar
from paceline.server.limits import Limits
from paceline.server.schema import ChatBody, NamedTool, Tool

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_ANY_ARGUMENTS: dict[str, Any] = {"type": "object"}


class Function(msgspec.Struct, kw_only=True):
    name: str
    arguments: str


class ToolCall(msgspec.Struct, kw_only=True):
    """One call as the OpenAI API spells it; ``index`` only in streams."""

    id: str
    function: Function
    type: str = "function"
    index: int | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What a request says about tools. ``forced`` output is JSON alone, held to ``grammar``."""

    offered: list[dict[str, Any]] | None = None  # for the template
    parses: bool = False
    grammar: Grammar | None = None
    forced: str | None = None  # the one function whose arguments the output is; "" for a list of calls
    parallel: bool = True


def tool_use(body: ChatBody, limits: Limits) -> ToolUse:
    """Checks ``tools`` and ``tool_choice``. Raises InvalidRequest."""
    offered = offered_tools(body.tools, limits)
    if not offered:
        if body.tool_choice not in (None, "none", "auto"):
            raise InvalidRequest("tool_choice needs tools", param="tool_choice")
        return ToolUse()
    functions = {str(tool["function"]["name"]): _arguments_schema(tool) for tool in offered}
    parallel = body.parallel_tool_calls is not False
    match body.tool_choice:
        case "none":
            return ToolUse()
        case None | "auto":
            return ToolUse(offered, parses=True, parallel=parallel)
        case "required":
            grammar = schema_grammar(_any_call(functions, parallel), "tools")
            return ToolUse(offered, parses=True, grammar=grammar, forced="", parallel=parallel)
        case NamedTool(function=named) if named.name in functions:
            grammar = schema_grammar(functions[named.name], "tools")
            return ToolUse(offered, parses=True, grammar=grammar, forced=named.name)
        case _:
            message = "tool_choice must be none, auto, required or one of the tools"
            raise InvalidRequest(message, param="tool_choice")


def offered_tools(raw: msgspec.Raw, limits: Limits) -> list[dict[str, Any]] | None:
    """The tools as the template wants them: plain values, checked for shape."""
    tools = free_form(raw, "tools", limits)
    if tools is None:
        return None
    try:
        checked = msgspec.convert(tools, list[Tool])
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"tools: {error}".replace("`", ""), param="tools", code="invalid_type") from None
    if len(checked) > limits.max_tools:
        raise InvalidRequest(f"at most {limits.max_tools} tools, got {len(checked)}", param="tools")
    for tool in checked:
        if tool.type != "function" or not tool.function.name:
            raise InvalidRequest("every tool is a function with a name", param="tools")
        if not isinstance(tool.function.parameters, dict | None):
            raise InvalidRequest("parameters of a tool must be a JSON schema", param="tools", code="invalid_type")
    return list(tools)


def _arguments_schema(tool: dict[str, Any]) -> dict[str, Any]:
    return tool["function"].get("parameters") or _ANY_ARGUMENTS


def _any_call(functions: dict[str, dict[str, Any]], parallel: bool) -> dict[str, Any]:
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": schema},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for name, schema in functions.items()
    ]
    bounds = {"minItems": 1} if parallel else {"minItems": 1, "maxItems": 1}
    return {"type": "array", "items": {"anyOf": calls}, **bounds}


def forced_calls(text: str, forced: str) -> list[ToolCall] | None:
    """The calls in a forced output; None if it was cut off before it was whole JSON."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if forced:
        return [_call(forced, value)]
    calls = [_read_call(item) for item in value] if isinstance(value, list) else []
    return [call for call in calls if call is not None] or None


def _call(name: str, arguments: Any) -> ToolCall:
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return ToolCall(id=f"call_{secrets.token_hex(12)}", function=Function(name=name, arguments=text))


def _read_call(value: Any) -> ToolCall | None:
    match value:
        case {"name": str(name), "arguments": arguments} | {"name": str(name), "parameters": arguments} if name:
            return _call(name, arguments)
        case _:
            return None


@final
class ToolCallReader:
    """Splits a stream of text into plain text and calls.

    What may be the beginning of a call is held back. What looked like a call but is not JSON comes
    out as the text it was.

    >>> reader = ToolCallReader()
    >>> reader.feed("a<tool"), reader.feed("s>b"), reader.close()
    (['a'], ['<tools>b'], [])
    """

    def __init__(self, max_calls: int | None = None) -> None:
        self.num_calls = 0
        self._max_calls = max_calls
        self._held = ""
        self._state: Literal["text", "call"] = "text"

    def feed(self, text: str) -> list[str | ToolCall]:
        """What is certain after ``text``."""
        self._held += text
        parts: list[str | ToolCall] = []
        while self._held:
            found = self._held.find(_OPEN if self._state == "text" else _CLOSE)
            if found < 0:
                break
            parts.extend(self._take(found))
        if self._state == "text" and self._held:
            keep = _overlap(self._held, _OPEN)
            plain, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
            if plain:
                parts.append(plain)
        return parts

    def _take(self, found: int) -> Sequence[str | ToolCall]:
        head = self._held[:found]
        if self._state == "text":
            self._state, self._held = "call", self._held[found + len(_OPEN) :]
            return (head,) if head else ()
        self._state, self._held = "text", self._held[found + len(_CLOSE) :].lstrip("\n")
        return self._finish_call(head, _OPEN + head + _CLOSE)

    def _finish_call(self, inner: str, source: str) -> Sequence[str | ToolCall]:
        try:
            call = _read_call(msgspec.json.decode(inner))
        except (msgspec.DecodeError, RecursionError):
            call = None
        if call is None:
            return (source,)
        if self._max_calls is not None and self.num_calls >= self._max_calls:
            return ()
        call.index = self.num_calls
        self.num_calls += 1
        return (call,)

    def close(self) -> list[str | ToolCall]:
        """What was held back at the end; a call whose end tag is missing counts if it is whole."""
        held, self._held = self._held, ""
        if self._state == "call":
            return list(self._finish_call(held, _OPEN + held))
        return [held] if held else []


def _overlap(text: str, tag: str) -> int:
    """Length of the longest end of ``text`` that ``tag`` begins with."""
    return next((size for size in range(min(len(text), len(tag) - 1), 0, -1) if tag.startswith(text[-size:])), 0)
