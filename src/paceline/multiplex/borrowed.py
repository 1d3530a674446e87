"""Threads: in whose hands something is, and how one that is not ours is borrowed for a launch."""

from __future__ import annotations

import threading
from typing import final

import torch


@final
class Mine:
    """A lock that knows whose it is."""

    __slots__ = ("_lock", "_owner")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0

    @property
    def is_held(self) -> bool:
        """By the thread that asks."""
        return self._owner == threading.get_ident()

    def acquire(self, *, blocking: bool) -> bool:
        taken = self._lock.acquire(blocking)
        if taken:
            self._owner = threading.get_ident()
        return taken

    def release(self) -> None:
        self._owner = 0
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire(blocking=True)

    def __exit__(self, *_: object) -> None:
        self.release()


@final
class Borrowed:
    """The thread of a caller, with as many threads per operator meanwhile as a thread of ours would have."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._before = threads

    def is_plain(self) -> bool:
        """Whether torch computes in it what it computes in a thread of ours."""
        if torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack():  # such as a default device
            return False
        return not torch.is_autocast_enabled("cpu")

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        if self._before != self._threads:
            torch.set_num_threads(self._threads)

    def __exit__(self, *_: object) -> None:
        if self._before != self._threads:
            torch.set_num_threads(self._before)
