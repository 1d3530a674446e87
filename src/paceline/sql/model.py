"""The port to a language model: what the SQL part asks, what it hears, and no more.

An implementation is found by name (``paceline.registry``): ``embedded`` is the engine in this process, ``endpoint``
any server with the OpenAI API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from paceline.registry import Registry


class Ask(NamedTuple):
    """One request. Two asks with equal texts and limits may get one answer."""

    system: str
    user: str
    max_tokens: int
    choices: tuple[str, ...] = ()  # the answer must be one of these; empty: any text
    schema: str = ""  # the answer must be JSON that fits this JSON schema; empty: any text
    shared: int = 0  # leading characters of ``user`` that the ask before has too: whom to send first


class Answer(NamedTuple):
    """What came back. Exactly one of ``text`` and ``error`` is set."""

    text: str | None
    error: str | None = None
    attempts: int = 1  # times it was sent, 0: never
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


class LanguageModel(Protocol):
    """Answers requests, keeps the order in which they are sent, retries what may be retried."""

    @property
    def name(self) -> str:
        """The model's name; part of the key under which answers are kept."""
        ...

    def num_tokens(self, text: str) -> int:
        """Tokens of a text, or an estimate where the tokenizer is not at hand."""
        ...

    def ask(self, asks: Iterable[Ask], done: Callable[[int, Answer], None]) -> None:
        """Sends ``asks`` in order, many at a time, and calls ``done`` once for each with its number, in any order.

        Asks are drawn from the iterable as there is room. ``done`` is called in the caller's thread; what it raises
        ends the call, and what is in flight is cancelled. A request that fails is an ``Answer`` with an error;
        ConfigError is raised for what would fail every request (a wrong key, an unknown model, no server).
        """
        ...

    def close(self) -> None:
        """Gives memory and connections back."""
        ...


MODELS: Registry[Callable[..., LanguageModel]] = Registry("language model")
"""Language models by name; a package adds its own by an entry point in the group ``paceline.language_model``."""

MODELS.register_lazy("embedded", "paceline.sql.clients.embedded:EmbeddedModel")
MODELS.register_lazy("endpoint", "paceline.sql.clients.endpoint:EndpointModel")
