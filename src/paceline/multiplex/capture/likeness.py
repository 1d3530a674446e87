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
    try:
        modules = tuple((name, type(module), _options(module)) for name, module in model.named_modules())
    except _Unknown:
        return None
    state = state_of(model)
    first_names: dict[int, str] = {}
    tied = tuple(first_names.setdefault(id(tensor), name) for name, tensor in state.items())
    return modules, tied, tuple((name, tuple(each.shape), each.dtype) for name, each in state.items())


def _options(module: nn.Module) -> Likeness:
    own = vars(module)
    if any(own[hooks] for hooks in ("_forward_hooks", "_forward_pre_hooks")):
        raise _Unknown
    return tuple((name, _option(value)) for name, value in sorted(own.items()) if name not in _KEPT_BY_TORCH)


def _option(value: Any) -> Any:
    """With the type, since Python takes True, 1 and 1.0 for equal."""
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_option, value))
    if isinstance(value, dict):
        return dict, tuple((_option(key), _option(each)) for key, each in value.items())
    if isinstance(value, types.BuiltinFunctionType) or (
        isinstance(value, types.FunctionType) and value.__closure__ is None and value.__name__ != "<lambda>"
    ):
        return value
    if isinstance(value, _PLAIN):
        return type(value), value
    raise _Unknown
