"""Writes one straight-line Python function: every line calls one object bound beforehand.

The text consists of names made here (``v0`` for what a line gives, ``c0`` for what is bound) and nothing else: constants
and callables are bound as objects, so nothing that a model folder says can become code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, final

from paceline.multiplex.lower.form import Form, steps
from paceline.multiplex.lower.group import Group
from paceline.multiplex.op import Graph, Rows


class Name(str):
    """A variable of the function that is being written."""

    __slots__ = ()


@final
class Writer:
    """State of writing one program for the tenants of ``group``."""

    def __init__(self, graph: Graph, group: Group) -> None:
        self.graph = graph
        self.group = group
        self.num_tenants = group.num_tenants
        self.specs = graph.specs()
        self.num_loop_ops = 0
        self.place = 0  # of the op that is being written
        self._lines: list[tuple[tuple[Name, ...], str, tuple[Name, ...]]] = []
        self._bound: dict[int, tuple[str, object]] = {}
        self._forms: list[dict[Form, Name]] = [{} for _ in self.specs]
        self._storage: dict[Name, int] = {}
        self._values_in: dict[int, set[int]] = {}  # storage -> values in it
        self._pinned: set[int] = set()
        self.first_values = graph.first_values()
        self._last_use = graph.last_reads()
        self._rows: dict[int, Name] = {}
        self._parameters = tuple(Name(f"x{place}") for place in range(len(graph.inputs)))
        self._num_names = 0
        for name in self._parameters:
            self._own(name)
            self.pin(name)

    # ── values ───────────────────────────────────────────────────────────────────────────────

    def feature(self, index: int) -> tuple[int, ...]:
        """Shape of a value without its rows."""
        return tuple([size for size in self.specs[index].shape if not isinstance(size, Rows)])

    def factor(self, index: int) -> int:
        """How many rows this value has for each row of the inputs."""
        rows = self.specs[index].shape[0]
        assert isinstance(rows, Rows)
        return rows.factor

    def form(self, index: int) -> Form:
        """The form in which a value was first made; an input that nobody has read yet is as good in any."""
        return next(iter(self._forms[index]), Form.FLAT)

    def has(self, index: int, form: Form) -> bool:
        return form in self._forms[index]

    def get(self, index: int, form: Form) -> Name:
        """The value in this form, converted once if it must be."""
        forms = self._forms[index]
        if not forms:
            self.give(index, form, self._parameters[index])
        elif form not in forms:
            source = self.form(index)
            name = forms[source]
            for function, arguments in steps(source, form, self.feature(index), self.num_tenants):
                name = self.call(function, name, *arguments, shares=name)
            self.give(index, form, name)
        return forms[form]

    def give(self, index: int, form: Form, name: Name) -> None:
        """``name`` holds the value in this form."""
        self._forms[index][form] = name
        self._values_in.setdefault(self._storage[name], set()).add(index)

    def may_overwrite(self, index: int, name: Name) -> bool:
        """Whether nobody needs the numbers in ``name`` after the op that is being written."""
        storage = self._storage[name]
        if storage in self._pinned:
            return False
        return all(self._last_use[each] <= self.place for each in self._values_in[storage] | {index})

    # ── lines ────────────────────────────────────────────────────────────────────────────────

    def call(self, function: Callable[..., Any], *arguments: Any, shares: Name | None = None, **keywords: Any) -> Name:
        """A line that calls ``function``; ``shares`` names the variable whose memory the result may lie in."""
        name = self._fresh()
        self._add((name,), function, arguments, keywords)
        self._share(name, shares)
        return name

    def call_results(
        self,
        function: Callable[..., Any],
        num_results: int,
        *arguments: Any,
        shares: Name | None = None,
        **keywords: Any,
    ) -> tuple[Name, ...]:
        """The same for a function that gives one tensor or several."""
        names = tuple(self._fresh() for _ in range(num_results))
        self._add(names, function, arguments, keywords)
        for name in names:
            self._share(name, shares)
        return names

    def pin(self, name: Name) -> None:
        """Nobody may write over the memory of this variable: who else looks at it is not known."""
        self._pinned.add(self._storage[name])

    def num_rows(self, factor: int) -> Name:
        """A variable with ``factor`` times the rows of all tenants together."""
        if factor not in self._rows:
            if 1 not in self._rows:
                index = next(place for place, spec in enumerate(self.graph.inputs) if spec.shape[0] == Rows())
                form = self.form(index)
                rows = self.call(_size, self.get(index, form), 1 if form is Form.SPLIT else 0)
                self._rows[1] = rows if form is Form.FLAT else self.call(int.__mul__, rows, self.num_tenants)
            if factor != 1:
                self._rows[factor] = self.call(int.__mul__, self._rows[1], factor)
        return self._rows[factor]

    def finish(self) -> tuple[Callable[..., Any], tuple[Form, ...], tuple[Form, ...]]:
        """The function, and the forms of what it takes and of what it returns."""
        takes = tuple(self.form(index) for index in range(len(self.graph.inputs)))
        forms = tuple(self.form(index) for index in self.graph.outputs)
        results = [self.get(index, form) for index, form in zip(self.graph.outputs, forms, strict=True)]
        text = _text(self._parameters, self._lines, results)
        return FunctionType(_compiled(text), dict(self._bound.values())), takes, forms

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def _fresh(self) -> Name:
        self._num_names += 1
        return Name(f"v{self._num_names}")

    def _own(self, name: Name) -> None:
        self._storage[name] = len(self._storage)

    def _share(self, name: Name, shares: Name | None) -> None:
        if shares is None:
            self._own(name)
        else:
            self._storage[name] = self._storage[shares]

    def _add(
        self,
        results: tuple[Name, ...],
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> None:
        read: list[Name] = []
        if keywords:  # their names are the model's, so they are bound, not written
            function = functools.partial(function, **keywords)
        shown = [self._shown(each, read) for each in arguments]
        self._lines.append((results, f"{self._bind(function)}({', '.join(shown)})", tuple(read)))

    def _shown(self, argument: Any, read: list[Name]) -> str:
        if isinstance(argument, Name):
            read.append(argument)
            return str(argument)
        if isinstance(argument, (tuple, list)) and _holds_name(argument):
            return f"({' '.join(self._shown(each, read) + ',' for each in argument)})"
        return self._bind(argument)

    def _bind(self, item: object) -> str:
        name, _ = self._bound.setdefault(id(item), (f"c{len(self._bound)}", item))
        return name


def _size(tensor: Any, dimension: int) -> int:
    return int(tensor.shape[dimension])


def _holds_name(items: tuple[Any, ...] | list[Any]) -> bool:
    return any(isinstance(each, Name) or (isinstance(each, (tuple, list)) and _holds_name(each)) for each in items)


def _text(
    parameters: tuple[Name, ...], lines: list[tuple[tuple[Name, ...], str, tuple[Name, ...]]], results: list[Name]
) -> str:
    """The function's source; variables are dropped after their last use, so that memory is used again while it is hot."""
    kept = {*results, *parameters}
    body, seen = [f"return ({' '.join(each + ',' for each in results)})"], set(kept)
    for names, call, read in reversed(lines):
        dead = [name for name in dict.fromkeys((*names, *read)) if name not in seen]
        seen.update(dead)
        if dead:
            body.append(f"del {', '.join(dead)}")
        body.append(f"{', '.join(names)} = {call}")
    head = f"def program({', '.join(parameters)}):"
    return "\n ".join([head, *reversed(body)])


@functools.lru_cache(maxsize=1024)
def _compiled(text: str) -> CodeType:
    module = compile(text, "<stacked program>", "exec")
    return next(constant for constant in module.co_consts if isinstance(constant, CodeType))
