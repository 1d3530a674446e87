"""The weights of the tenants that one program serves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, final

from torch import Tensor

_LINE: Final = 64


@final
@dataclass(eq=False)
class Group:
    """Weights by name: ``shared`` ones are the same for all tenants, ``stacked`` ones are ``[R, *shape]``.

    ``own_bytes`` counts what is kept for this group alone: gathered copies and prepared layouts. With ``exact`` the bits
    of a tenant's results must not depend on its place: kernels may choose by the address of what they read. ``common``
    are layouts of shared weights, kept together with other groups.
    """

    num_tenants: int
    shared: dict[str, Tensor]
    stacked: dict[str, Tensor]
    own_bytes: int = 0
    exact: bool = False
    common: dict[tuple[str, str, int], Tensor] = field(default_factory=dict)
    _copied_bytes: int = field(init=False)
    _prepared: dict[tuple[str, ...], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._copied_bytes = self.own_bytes

    def every(self, name: str) -> Tensor:
        """The weight as ``[R, *shape]``, whether shared or not."""
        if name in self.stacked:
            return self.stacked[name]
        return self.shared[name].expand(self.num_tenants, *self.shared[name].shape)

    def one(self, name: str, tenant: int) -> Tensor:
        """The weight of one tenant."""
        if name in self.shared:
            return self.shared[name]
        own = self.stacked[name][tenant]
        return self.prepared(f"of {tenant}", (name,), lambda _: at_line(own)) if self.exact else own

    def prepared_shared(self, layout: str, name: str, make: Callable[[Tensor], Tensor]) -> Tensor:
        """``make`` of a shared weight, made once for all groups that share it."""
        own = self.shared[name]
        key = (layout, name, own.data_ptr())
        if key not in self.common:
            self.common[key] = make(own)
        return self.common[key]

    def prepared(self, layout: str, names: tuple[str, ...], make: Callable[..., Tensor]) -> Tensor:
        """``make`` of the stacked weights ``names``, made once and kept."""
        key = (layout, *names)
        if key not in self._prepared:
            given = [self.every(name) for name in names]
            made = self._prepared[key] = make(*given)
            self.own_bytes += 0 if any(_same_memory(made, each) for each in given) else tensor_bytes(made)
        return self._prepared[key]

    def forget_prepared(self) -> None:
        """Drops what was made for variants that are not used after all; programs keep what they were built with."""
        self._prepared.clear()
        self.own_bytes = self._copied_bytes


def at_line(tensor: Tensor) -> Tensor:
    """The tensor, copied unless it starts at a line of the cache."""
    return tensor if tensor.data_ptr() % _LINE == 0 else tensor.clone()


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes of the numbers in a tensor.

    >>> import torch
    >>> tensor_bytes(torch.zeros(2, 3))
    24
    """
    return math.prod(tensor.shape) * tensor.element_size()


def _same_memory(view: Tensor, tensor: Tensor) -> bool:
    """Whether the first is a view of the second; ``_base`` would not tell in inference mode."""
    return view.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
