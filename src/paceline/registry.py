"""Named choices. An unknown name fails, lists the known ones, and guesses what was meant.

Three ways in: an object, the text ``"module:attribute"`` (imported on first use, so that a name
costs nothing until it is wanted), and an installed package's entry point in the group
``paceline.<kind>``.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast, final

from paceline.errors import ConfigError

T = TypeVar("T")


@final
class Registry(Generic[T]):
    """Choices of one kind by name.

    >>> orders = Registry[int]("order")
    >>> orders.register("first", 1)
    1
    >>> orders["frist"]
    Traceback (most recent call last):
        ...
    paceline.errors.ConfigError: unknown order 'frist'; did you mean 'first'? known: first
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}
        self._lazy: dict[str, str] = {}

    def register(self, name: str, item: T) -> T:
        """Adds ``item`` and returns it; a name can be given once."""
        self._claim(name)
        self._items[name] = item
        return item

    def register_lazy(self, name: str, target: str) -> None:
        """Adds what ``target``, written ``"module:attribute"``, names; imported on first use."""
        self._claim(name)
        self._lazy[name] = target

    def _claim(self, name: str) -> None:
        if name in self._items or name in self._lazy:
            raise ConfigError(f"{self.kind} {name!r} is already registered")

    def __getitem__(self, name: str) -> T:
        """The choice called ``name``; ConfigError if there is none or it cannot be imported."""
        if name not in self._items:
            self._items[name] = self._resolve(name)
        return self._items[name]

    def _resolve(self, name: str) -> T:
        target = self._lazy.get(name)
        plugin = None if target is not None else self._plugins().get(name)
        if target is None and plugin is None:
            raise ConfigError(self._unknown(name))
        try:
            return cast(T, plugin.load() if plugin is not None else _import(cast(str, target)))
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{self.kind} {name!r} cannot be loaded: {error}") from error

    def _plugins(self) -> dict[str, EntryPoint]:
        group = "paceline." + self.kind.replace(" ", "_")
        return {point.name: point for point in entry_points(group=group)}

    def _unknown(self, name: str) -> str:
        known = list(self)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"unknown {self.kind} {name!r}; {hint}known: {', '.join(known) or 'none'}"

    def __iter__(self) -> Iterator[str]:
        """All names, sorted, those of installed plug-ins too."""
        return iter(sorted({*self._items, *self._lazy, *self._plugins()}))

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _import(target: str) -> object:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
