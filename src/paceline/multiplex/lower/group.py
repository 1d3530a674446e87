"""The weights of the tenants that one program serves."""

from __future__ import annotations

import math
from collections import UserDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, final

import torch
from torch import Tensor

from paceline.multiplex.native.chain import Aim

_LINE: Final = 64


@final
class Scattered(UserDict[str, Tensor]):
    """Stacked weights of which some do not lie side by side; such a one is copied when somebody wants it as one tensor."""

    def __init__(self, ready: Mapping[str, Tensor], apart: Mapping[str, list[Tensor]]) -> None:
        super().__init__({**ready, **{name: parts[0] for name, parts in apart.items()}})
        self.apart = apart
        self.copied_bytes = 0
        self._waiting = set(apart)

    def __getitem__(self, name: str) -> Tensor:
        if name in self._waiting:
            self._waiting.remove(name)
            self.data[name] = torch.stack(self.apart[name])
            self.copied_bytes += tensor_bytes(self.data[name])
        return self.data[name]


@final
class Unplaced(UserDict[str, Tensor]):
    """Weights of slots that are named before each launch: of every weight one tensor per slot, and no stacked one."""

    def __init__(self, apart: Mapping[str, list[Tensor]]) -> None:
        super().__init__({name: parts[0] for name, parts in apart.items()})
        self.apart = apart

    def __getitem__(self, name: str) -> Tensor:
        raise NotPlaced(f"the weight {name!r} is read by an operator that needs it stacked")


class NotPlaced(RuntimeError):
    """An operator cannot be written for slots that are named later."""


@final
@dataclass(eq=False)
class Group:
    """Weights by name: ``shared`` ones are the same for all tenants, ``stacked`` ones are ``[R, *shape]``.

    ``own_bytes`` counts what is kept for this group alone: gathered copies and prepared layouts. With ``exact`` the bits
    of a tenant's results must not depend on its place: kernels may choose by the address of what they read. ``common``
    are layouts of shared weights, kept together with other groups. ``aim`` says which slots of ``Unplaced`` weights run.
    """

    num_tenants: int
    shared: dict[str, Tensor]
    stacked: Mapping[str, Tensor]
    own_bytes: int = 0
    exact: bool = False
    common: dict[tuple[str, str, int], Tensor] = field(default_factory=dict)
    aim: Aim = field(default_factory=lambda: Aim(0))
    _copied_bytes: int = field(init=False)
    _prepared: dict[tuple[str, ...], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._copied_bytes = self.own_bytes
        if not isinstance(self.stacked, Unplaced):
            self.aim = Aim(self.num_tenants)

    @property
    def memory_bytes(self) -> int:
        """Of all copies."""
        return self.own_bytes + (self.stacked.copied_bytes if isinstance(self.stacked, Scattered) else 0)

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

    def require_placed(self, names: Sequence[str]) -> None:
        """NotPlaced if one of these is a weight of tenants who are named later."""
        for name in names:
            if isinstance(self.stacked, Unplaced) and name in self.stacked:
                self.stacked[name]

    def of_slot(self, name: str, slot: int) -> Tensor:
        """The weight of a slot, which need not be named yet."""
        if isinstance(self.stacked, Unplaced) and name in self.stacked.apart:
            return self.stacked.apart[name][slot]
        return self.one(name, slot)

    def parts(self, name: str) -> list[Tensor]:
        """The weight of each tenant, where it lies; of each slot if these are named later."""
        if isinstance(self.stacked, (Scattered, Unplaced)) and name in self.stacked.apart:
            return self.stacked.apart[name]
        if isinstance(self.stacked, Unplaced):
            return [self.shared[name]] * self.num_slots
        return list(self.every(name).unbind(0))

    @property
    def num_slots(self) -> int:
        """How many tenants have weights here, whether they run or not."""
        if not isinstance(self.stacked, Unplaced):
            return self.num_tenants
        return len(next(iter(self.stacked.apart.values()), ()))

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
