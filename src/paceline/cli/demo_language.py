"""The language model's part of ``paceline demo``: a server on a free port, asked through the openai client."""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paceline.errors import ExecutionError

if TYPE_CHECKING:
    from openai import OpenAI
    from rich.console import Console

_START_S = 60.0
_STOP_S = 10.0
_NUM_STREAMS = 8
_STRUCTURED = 2  # which prompt asks for JSON
_ANALYST = "You are a data analyst. Answer the question from the fields of the JSON row. Reply with the answer only."
_ROW = {
    "product": "Zentra kettle",
    "price": 39,
    "brand": "Zentra",
    "review": "The lid broke after a week. The handle feels cheap. I would not buy it again.",
}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"sentiment": {"enum": ["positive", "negative", "neutral"]}, "stars": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["sentiment", "stars"],
    "additionalProperties": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """One prompt's way through the server. Times in seconds as the client saw them."""

    prompt: str
    text: str
    first_token_s: float
    seconds: float
    num_tokens: int
    num_cached: int
    num_prompt: int

    @property
    def tokens_per_s(self) -> float:
        """After the first token; of too few tokens, including it."""
        if self.num_tokens > 1 and self.seconds > self.first_token_s:
            return (self.num_tokens - 1) / (self.seconds - self.first_token_s)
        return self.num_tokens / self.seconds


def show_language(screen: Console) -> None:
    """Starts the server, asks, prints a table, stops the server."""
    screen.print("[bold]Language model[/]: paceline serve --demo --port 0, asked with the openai client")
    with _server() as ready, _client(ready["url"]) as client:
        model = ready["model"]
        screen.print(f"  {model} was ready at {ready['url']} after {ready['seconds']:.1f} s\n")
        answers = [_ask(client, model, *prompt) for prompt in _prompts()]
        began = time.monotonic()
        with ThreadPoolExecutor(_NUM_STREAMS) as pool:
            streams = list(pool.map(lambda prompt: _ask(client, model, *prompt), _stream_prompts()))
        together_s = time.monotonic() - began
    _print_table(screen, answers)
    _check(answers)
    num_tokens = sum(answer.num_tokens for answer in streams)
    alone = answers[0].tokens_per_s
    screen.print(
        f"\n  {_NUM_STREAMS} streams at once: {num_tokens} tokens in {together_s:.2f} s, "
        f"{num_tokens / together_s:.0f} a second together (one alone: {alone:.0f})"
    )


def _client(url: str) -> OpenAI:
    from openai import OpenAI

    return OpenAI(base_url=url, api_key="unused", max_retries=0)


@contextlib.contextmanager
def _server() -> Iterator[dict[str, Any]]:
    """A server of our own, and what it says when it is ready. It is stopped by its process id, which only we know."""
    command = [sys.executable, "-m", "paceline", "serve", "--demo", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            importlib.import_module("openai")  # takes as long as the server does: both at once
            yield json.loads(_first_line(process))
        finally:
            process.terminate()
            try:
                process.communicate(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with ThreadPoolExecutor(1) as reader:
        line = reader.submit(process.stdout.readline)
        with contextlib.suppress(TimeoutError):
            if text := line.result(_START_S):
                return text
        process.kill()
    assert process.stderr is not None
    raise ExecutionError(f"the demo's server did not start: {process.stderr.read().strip() or 'it said nothing'}")


Prompt = tuple[str, str, dict[str, Any]]  # what the table shows, the method, its fields


def _prompts() -> tuple[Prompt, ...]:
    code = "def read_json(path):\n"
    question = f"Is the review negative? Answer yes or no.\n{json.dumps(_ROW)}"
    table = [{"role": "system", "content": _ANALYST}, {"role": "user", "content": question}]
    structured = [
        {"role": "system", "content": _ANALYST},
        {"role": "user", "content": f"What is the sentiment of the review?\n{json.dumps(_ROW)}"},
    ]
    form = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": _SCHEMA}}
    return (
        (code, "completions", {"prompt": code, "max_tokens": 48}),
        ("who are you", "chat", {"messages": [{"role": "user", "content": "who are you"}], "max_tokens": 48}),
        ("verdict on a review, by JSON schema", "chat", {"messages": structured, "max_tokens": 256, "response_format": form}),
        ("is the review negative?", "chat", {"messages": table, "max_tokens": 8}),
        ("the same again: cached", "chat", {"messages": table, "max_tokens": 8}),
    )  # fmt: skip


def _stream_prompts() -> list[Prompt]:
    names = ("load", "save", "parse", "format", "check", "count", "merge", "split")[:_NUM_STREAMS]
    return [(name, "completions", {"prompt": f"def {name}_items(items):\n", "max_tokens": 64}) for name in names]


def _ask(client: OpenAI, model: str, prompt: str, method: str, fields: dict[str, Any]) -> Answer:
    """Streams one answer and times it."""
    create: Callable[..., Any] = (
        client.completions.create if method == "completions" else client.chat.completions.create
    )
    began = time.monotonic()
    first_token_s, text, usage = 0.0, "", None
    for chunk in create(model=model, temperature=0, stream=True, stream_options={"include_usage": True}, **fields):
        usage = chunk.usage or usage
        piece = "".join((c.text if method == "completions" else c.delta.content) or "" for c in chunk.choices)
        if piece and not text:
            first_token_s = time.monotonic() - began
        text += piece
    assert usage is not None, "the last event of a stream holds its usage"
    return Answer(
        prompt=prompt,
        text=text,
        first_token_s=first_token_s,
        seconds=time.monotonic() - began,
        num_tokens=usage.completion_tokens,
        num_cached=usage.prompt_tokens_details.cached_tokens,
        num_prompt=usage.prompt_tokens,
    )


def _check(answers: list[Answer]) -> None:
    """ExecutionError unless the server did what the table is meant to show."""
    structured, again = answers[_STRUCTURED], answers[-1]
    try:
        verdict = json.loads(structured.text)
    except ValueError:
        verdict = {}
    if set(verdict) != set(_SCHEMA["required"]):
        raise ExecutionError(f"the structured answer does not follow its schema: {structured.text[:200]!r}")
    if not again.num_cached:
        raise ExecutionError("the same question asked again found nothing in the prefix cache")


def _print_table(screen: Console, answers: list[Answer]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 2), expand=screen.is_terminal)
    for name in ("prompt", "answer"):
        table.add_column(name, overflow="fold")
    for name in ("TTFT", "tokens/s", "cached"):
        table.add_column(name, justify="right", no_wrap=True)
    for answer in answers:
        table.add_row(
            Text(answer.prompt.strip()),
            Text(" ".join(answer.text.split())),
            f"{1000 * answer.first_token_s:.0f} ms",
            f"{answer.tokens_per_s:.0f}",
            f"{answer.num_cached} of {answer.num_prompt}",
        )
    screen.print(table)
