"""The engine of this package as a language model, found by name: this part imports no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, final

from paceline.registry import Registry
from paceline.sql.model import Answer, Ask


class Engine(Protocol):
    """What is needed of an engine. Questions and replies are plain tuples with the fields of ``Ask`` and ``Answer``."""

    @property
    def name(self) -> str: ...

    def num_tokens(self, text: str) -> int: ...

    def ask(self, questions: Iterable[Ask], done: Callable[[int, tuple[Any, ...]], None]) -> None: ...

    def close(self) -> None: ...


ENGINES: Registry[Callable[..., Engine]] = Registry("engine")
"""Engines that run in this process; a package adds its own by an entry point in the group ``paceline.engine``."""


@final
class EmbeddedModel:
    """A language model in this process: the small one in the package, or ``model``, a folder or a hub id.

    ``options`` are those of the engine. Raises ConfigError, ModelError or ResourceError.
    """

    def __init__(self, model: str | None = None, **options: Any) -> None:
        self._engine = ENGINES["embedded"](model, **options)

    @property
    def name(self) -> str:
        return self._engine.name

    def num_tokens(self, text: str) -> int:
        return self._engine.num_tokens(text)

    def ask(self, asks: Iterable[Ask], done: Callable[[int, Answer], None]) -> None:
        """Answers in this process, greedily; see ``LanguageModel``."""
        self._engine.ask(asks, lambda number, reply: done(number, Answer(*reply)))

    def close(self) -> None:
        self._engine.close()
