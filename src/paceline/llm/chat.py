"""Chat messages to the text a model was trained on, by the template in the model's folder.

What a user writes must not become a control token. Special strings in user text are marked (``tokenizer.MARK``) before
rendering; the template's own stay unmarked, and the tokenizer tells them apart. A second rendering, in which
every character that could begin a special string is marked, proves that no template glues one together from pieces
of user text; where the two disagree, the second is used.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paceline.errors import InvalidRequest, ModelError
from paceline.llm.model.folder import Fields, locate, read_json
from paceline.llm.template import MAX_TEMPLATE_CHARS, Template, TemplateRefusal
from paceline.llm.template_filters import MAX_OUTPUT_CHARS
from paceline.llm.tokenizer import MARK, Tokenizer, special_pattern, without_marks

ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_MESSAGES = 200_000

_RESERVED = frozenset({
    "messages", "message", "tools", "documents", "add_generation_prompt", "continue_final_message", "tokenize",
    "chat_template", "return_dict", "return_tensors", "return_assistant_tokens_mask", "padding", "truncation",
    "max_length", "tokenizer_kwargs", "conversation", "self", "loop",
})  # fmt: skip
_OPTIONAL_TEXT = ("name", "tool_call_id", "reasoning_content")


class ChatTemplate:
    """The chat templates of one model folder; ``render`` may be called from any thread."""

    def __init__(
        self,
        templates: Mapping[str, str],
        tokenizer: Tokenizer,
        variables: Mapping[str, Any],
        *,
        where: str = "chat template",
        now: Callable[[], datetime.datetime] = datetime.datetime.now,
    ) -> None:
        self._templates = {name: Template(text, where, now) for name, text in templates.items()}
        self._knows_developer = any("developer" in text for text in templates.values())
        self._tokenizer = tokenizer
        self._variables = dict(variables)
        self._reserved = _RESERVED | set(variables)
        for template in self._templates.values():
            self._reserved |= template.global_names
        specials = tokenizer.special_strings
        self._special = _first_char(specials)
        self._start = special_pattern({special[0] for special in specials})

    @classmethod
    def from_folder(cls, folder: Path, tokenizer: Tokenizer) -> ChatTemplate:
        """Read ``chat_template.jinja``, ``tokenizer_config.json`` or ``chat_template.json``, the first that has one.

        A folder without a template loads; rendering then raises ``InvalidRequest``. Raises ``ModelError`` for
        templates that do not compile or try to leave the sandbox.
        """
        config = read_json(folder, "tokenizer_config.json") or Fields("tokenizer_config.json", {})
        templates, where = _read_templates(folder, config)
        return cls(templates, tokenizer, _token_variables(config), where=where)

    def __bool__(self) -> bool:
        return bool(self._templates)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        /,
        *,
        add_generation_prompt: bool = True,
        **arguments: Any,
    ) -> str:
        """The prompt for ``messages``, to be encoded with ``tokenizer.encode(prompt, allow_special=True)``.

        ``arguments`` are passed to the template (``enable_thinking`` and the like).
        Raises ``InvalidRequest`` whose ``param`` is ``messages``, ``tools`` or ``chat_template_kwargs``.
        """
        template = self._template(tools)
        values = {
            "messages": [self._message(index, message) for index, message in enumerate(_checked(messages))],
            "tools": list(tools) if tools else None,
            **self._arguments(arguments),
        }
        fixed = {"add_generation_prompt": add_generation_prompt, "documents": None, **self._variables}
        loose = _render(template, {**_marked(values, self._special), **fixed})
        strict_values = _marked(values, self._start)
        if strict_values == values:
            return loose
        try:
            strict = _render(template, {**strict_values, **fixed})
        except InvalidRequest:  # marks at every bracket may break a template that parses its messages
            return loose
        same = self._tokenizer.find_specials(loose) == self._tokenizer.find_specials(strict)
        return loose if same else strict

    def encode(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
    ) -> list[int]:
        """Token ids of the rendered ``messages``, ending where the assistant's answer begins."""
        return self._tokenizer.encode(self.render(messages, tools), allow_special=True)

    def _template(self, tools: Sequence[Mapping[str, Any]] | None) -> Template:
        if not self._templates:
            raise InvalidRequest(
                "this model has no chat template; send a plain prompt to /v1/completions instead", param="messages"
            )
        if tools and "tool_use" in self._templates:
            return self._templates["tool_use"]
        return self._templates.get("default") or next(iter(self._templates.values()))

    def _arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        for name in arguments:
            if name in self._reserved or not name.isidentifier() or name.startswith("_"):
                raise InvalidRequest(
                    f"chat_template_kwargs may not set {name[:80]!r}",
                    param="chat_template_kwargs",
                    code="reserved_name",
                )
        return arguments

    def _message(self, index: int, message: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(message, Mapping):
            raise InvalidRequest(f"messages[{index}] must be an object", param="messages")
        role = message.get("role")
        if role not in ROLES:
            raise InvalidRequest(f"messages[{index}].role must be one of {list(ROLES)}", param="messages")
        if role == "developer" and not self._knows_developer:
            role = "system"
        calls = message.get("tool_calls")
        checked: dict[str, Any] = {"role": role, "content": _content(index, message.get("content"), bool(calls))}
        for name in _OPTIONAL_TEXT:
            if (value := message.get(name)) is not None:
                if not isinstance(value, str):
                    raise InvalidRequest(f"messages[{index}].{name} must be a string", param="messages")
                checked[name] = value
        if calls:
            checked["tool_calls"] = _tool_calls(index, calls)
        return checked


def _first_char(specials: Sequence[str]) -> re.Pattern[str]:
    """A pattern of the first character of each special string; it begins with literals, which are fast to find."""
    rests: dict[str, list[str]] = {}
    for special in specials:
        rests.setdefault(special[0], []).append(re.escape(special[1:]))
    return re.compile("|".join(f"{re.escape(char)}(?={'|'.join(rest)})" for char, rest in rests.items()) or "(?!)")


def _checked(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not 0 < len(messages) <= MAX_MESSAGES:
        raise InvalidRequest(f"messages must be a list of 1 to {MAX_MESSAGES} messages", param="messages")
    return messages


def _content(index: int, content: object, may_be_empty: bool) -> str:
    """Text of a message; text parts are joined, so that no template sees where one ends."""
    if isinstance(content, str):
        return content
    if content is None and may_be_empty:
        return ""
    if not isinstance(content, list) or not content:
        raise InvalidRequest(f"messages[{index}].content must be a string or a list of text parts", param="messages")
    for part in content:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = str(part.get("type") if isinstance(part, Mapping) else part)[:40]
            raise InvalidRequest(
                f"messages[{index}].content holds a part of type {kind!r}; only text is supported", param="messages"
            )
    return "\n".join(part["text"] for part in content)


def _tool_calls(index: int, calls: object) -> list[dict[str, Any]]:
    """Tool calls with arguments as objects, which is what templates expect; the API sends them as JSON text."""
    error = InvalidRequest(f"messages[{index}].tool_calls must be a list of function calls", param="messages")
    if not isinstance(calls, list):
        raise error
    parsed = []
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise error
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except (ValueError, RecursionError):
                raise InvalidRequest(
                    f"messages[{index}].tool_calls holds arguments that are not JSON", param="messages"
                ) from None
        parsed.append({"id": call.get("id"), "type": "function", "function": {**function, "arguments": arguments}})
    return parsed


def _marked(value: Any, places: re.Pattern[str]) -> Any:
    """``value`` with a mark at each of ``places`` in every string it holds, keys included."""
    if isinstance(value, str):
        return places.sub(rf"{MARK}\g<0>", without_marks(value))
    if isinstance(value, dict):
        return {_marked(key, places): _marked(item, places) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_marked(item, places) for item in value]
    return value


def _render(template: Template, values: dict[str, Any]) -> str:
    parts: list[str] = []
    length = 0
    try:
        for part in template.generate(values):
            parts.append(part)
            length += len(part)
            if length > MAX_OUTPUT_CHARS:
                raise InvalidRequest(f"the rendered prompt exceeds {MAX_OUTPUT_CHARS} characters", param="messages")
    except InvalidRequest:
        raise
    except TemplateRefusal as error:
        raise InvalidRequest(f"the model's chat template refused the messages: {error}", param="messages") from None
    except Exception:  # whatever a template manages to raise, its text may hold internals
        raise InvalidRequest("the model's chat template cannot render these messages", param="messages") from None
    return "".join(parts)


def _read_templates(folder: Path, config: Fields) -> tuple[dict[str, str], str]:
    path = locate(folder, "chat_template.jinja")
    if path is not None:
        if path.stat().st_size > 4 * MAX_TEMPLATE_CHARS:
            raise ModelError(f"{path}: too large for a chat template")
        try:
            return {"default": path.read_text("utf-8")}, str(path)
        except UnicodeDecodeError:
            raise ModelError(f"{path}: not UTF-8 text") from None
    for fields in (config, read_json(folder, "chat_template.json")):
        value = fields.values.get("chat_template") if fields else None
        if fields is None or value is None:
            continue
        if isinstance(value, str):
            return {"default": value}, fields.source
        return _named_templates(fields, value), fields.source
    return {}, str(folder)


def _named_templates(fields: Fields, value: object) -> dict[str, str]:
    templates: dict[str, str] = {}
    for entry in value if isinstance(value, list) else [None]:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("name", "template")):
            raise fields.wrong("chat_template", "a string or a list of objects with name and template")
        templates[entry["name"]] = entry["template"]
    return templates


def _token_variables(config: Fields) -> dict[str, Any]:
    """``bos_token`` and its like, as templates see them."""
    variables: dict[str, Any] = {}
    for name in ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"):
        value = config.values.get(name)
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            variables[name] = value
    return variables
