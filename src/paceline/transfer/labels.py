"""Labels of any kind as row numbers of classes, and the names that files know classes by."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError

_PLAIN: Final[dict[str, type]] = {"str": str, "int": int, "float": float, "bool": bool}  # what a file can give back


def encoded(y: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Classes, sorted where they can be, else as they come; and the class of each label.

    ConfigError for labels that are no classes: measurements such as 0.5, NaN, two to a picture, fewer than two kinds.

    >>> classes, rows = encoded(["robin", "jay", "jay"])
    >>> classes.tolist(), rows.tolist()
    (['jay', 'robin'], [1, 0, 0])
    """
    labels = _flat(y)
    distinct = list(dict.fromkeys(labels))
    for label in distinct:
        if isinstance(label, float) and not label.is_integer():
            raise ConfigError(f"y holds {label}: labels name classes, and are no measurements (unknown label type)")
    if len(distinct) < 2:
        raise ConfigError(f"y needs at least two classes to tell apart, got {len(distinct)} class")
    try:
        distinct.sort()  # type: ignore[call-arg]  # what has no order keeps its own
    except TypeError:
        distinct = list(dict.fromkeys(labels))
    place = {label: row for row, label in enumerate(distinct)}
    return _array(distinct), np.array([place[label] for label in labels], np.int64)


def _flat(y: Any) -> list[Hashable]:
    if y is None:
        raise ConfigError("pictures in a list or an array need labels, but y is None; only a folder brings its own")
    if hasattr(y, "__array__"):  # arrays, and columns of data frames
        array = np.asarray(y)
        if array.ndim != 1:
            raise ConfigError(f"y must hold one label for each picture, [N], got {list(array.shape)}")
        return array.tolist()  # type: ignore[no-any-return]
    labels = [label.item() if isinstance(label, np.generic) else label for label in y]
    for label in labels:
        if not isinstance(label, Hashable):
            raise ConfigError(f"a label must be hashable, such as a text or a number, got {type(label).__name__}")
    return labels


def rows_of(y: Any, classes: NDArray[Any]) -> NDArray[np.int64]:
    """The place of each label among ``classes``; -1 for those that are none of them.

    >>> rows_of(["jay", "owl"], np.array(["jay", "robin"])).tolist()
    [0, -1]
    """
    place = {label: row for row, label in enumerate(classes.tolist())}
    return np.array([place.get(label, -1) for label in _flat(y)], np.int64)


def _array(classes: list[Hashable]) -> NDArray[Any]:
    """[K]; of objects where NumPy would make something else of them: a tuple is no row of numbers."""
    if len({type(label) for label in classes}) == 1 and kind_of(classes[0]) is not None:
        return np.array(classes)
    made = np.empty(len(classes), object)
    made[:] = classes
    return made


def kind_of(label: object) -> str | None:
    """What a file calls the kind of a label; None for those that it cannot give back.

    >>> kind_of("robin"), kind_of(3), kind_of((1, 2))
    ('str', 'int', None)
    """
    return next((name for name, kind in _PLAIN.items() if type(label) is kind), None)


def names_of(classes: NDArray[Any]) -> tuple[str, ...]:
    """Classes as texts. ConfigError if two have the same."""
    names = tuple(str(label) for label in classes.tolist())
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"two labels are written {twice!r}; give labels that differ as texts")
    return names


def restored(names: tuple[str, ...], kind: str) -> NDArray[Any]:
    """The classes that ``names_of`` wrote, of one kind. ConfigError if a name is none of it.

    >>> restored(("1", "2"), "int").tolist(), restored(("True", "False"), "bool").tolist()
    ([1, 2], [True, False])
    """
    try:
        if kind == "bool":
            return np.array([{"True": True, "False": False}[name] for name in names])
        return np.array([_PLAIN[kind](name) for name in names])
    except (KeyError, ValueError):
        raise ConfigError(f"labels are said to be {kind}, but one of them is not: {', '.join(names[:5])}") from None
