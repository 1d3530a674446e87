"""Whether two models are built alike, so that one graph serves both: same classes, same options, same shapes."""

from __future__ import annotations

import types
from typing import Any, Final, TypeAlias

import torch
from torch import nn

from paceline.multiplex.capture.plain import state_of

Likeness: TypeAlias = tuple[Any, ...]
"""Equal for models that are built alike."""

_PLAIN: Final = (bool, int, float, str, torch.dtype, torch.device, type(None), type)
_KEPT_BY_TORCH: Final = frozenset(vars(nn.Module())) - {"training"} | {"_flat_weights", "_flat_weight_refs"}


class _Unknown(Exception):
    pass


def likeness(model: nn.Module) -> Likeness | None:
    """All classes, options, and shapes and types of state of a model; None if it holds what cannot be compared.

    >>> first, second, wide = (nn.Sequential(nn.Linear(2, width)) for width in (3, 3, 4))
    >>> likeness(first) == likeness(second), likeness(first) == likeness(wide)
    (True, False)
    """
    options = _Options(model)
    try:
        modules = tuple((name, type(module), options.of(module)) for name, module in model.named_modules())
    except _Unknown:
        return None
    state = state_of(model)
    first_names: dict[int, str] = {}
    tied = tuple(first_names.setdefault(id(tensor), name) for name, tensor in state.items())
    return modules, tied, tuple((name, tuple(each.shape), each.dtype) for name, each in state.items())


class _Options:
    """What modules hold beside their state. Objects count by their class and what they hold, in turn."""

    def __init__(self, model: nn.Module) -> None:
        self._names = {id(module): name for name, module in model.named_modules()}
        self._objects: dict[int, int] = {}  # in the order in which they were met

    def of(self, module: nn.Module) -> Likeness:
        own = vars(module)
        if any(own[hooks] for hooks in ("_forward_hooks", "_forward_pre_hooks")):
            raise _Unknown
        return self._fields({name: value for name, value in own.items() if name not in _KEPT_BY_TORCH})

    def _fields(self, own: dict[str, Any]) -> Likeness:
        return tuple((name, self._option(value)) for name, value in sorted(own.items()))

    def _option(self, value: Any) -> Any:
        """With the type, since Python takes True, 1 and 1.0 for equal."""
        if isinstance(value, (list, tuple)):
            return type(value), tuple(map(self._option, value))
        if isinstance(value, dict):
            return dict, tuple((self._option(key), self._option(each)) for key, each in value.items())
        if isinstance(value, types.BuiltinFunctionType) or (
            isinstance(value, types.FunctionType) and value.__closure__ is None and value.__name__ != "<lambda>"
        ):
            return value
        if isinstance(value, _PLAIN):
            return type(value), value
        if isinstance(value, nn.Module):
            return self._module(value)
        return self._object(value)

    def _module(self, module: nn.Module) -> Any:
        """One of the model's own, by its name; any other would have state that nobody compares."""
        if id(module) not in self._names:
            raise _Unknown
        return nn.Module, self._names[id(module)]

    def _object(self, value: Any) -> Any:
        mro = type(value).__mro__
        plain = hasattr(value, "__dict__") and not any(
            {"__new__", "__slots__"} & vars(each).keys() for each in mro[:-1]
        )
        if not plain:  # it may hold more than its fields tell, as what is written in C does
            raise _Unknown
        if id(value) in self._objects:
            return object, self._objects[id(value)]
        self._objects[id(value)] = len(self._objects)
        return type(value), self._fields(vars(value))
