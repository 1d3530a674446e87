"""The C interface of the chains: structures, signatures, and whether they can run here."""

from __future__ import annotations

import ctypes
import logging
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Final

_PATH: Final = Path(__file__).with_name("kernels.so")
_log = logging.getLogger(__name__)

LINEAR, LAYER_NORM, UNARY, BINARY, ATTENTION, LSTM = range(6)
UNARIES: Final = ("", "relu", "sigmoid", "tanh", "silu", "gelu", "gelu-tanh")
BINARIES: Final = ("add", "sub", "mul")
MOST_DIMENSIONS: Final = 3  # of a value, besides its rows
NO_MEMORY: Final = 1


class View(ctypes.Structure):
    """What ``PacelineView`` of chain.h holds."""

    _fields_ = (
        ("buffer", c_int32),
        ("unused", c_int32),
        ("offset", c_int64),
        ("row_stride", c_int64),
        ("size", c_int64 * MOST_DIMENSIONS),
        ("stride", c_int64 * MOST_DIMENSIONS),
    )


class Step(ctypes.Structure):
    """What ``PacelineStep`` of chain.h holds."""

    _fields_ = (
        ("kind", c_int32),
        ("function", c_int32),
        ("weights", c_int32 * 4),
        ("number", c_float),
        ("unused", c_float),
        ("sources", View * 3),
        ("result", View),
    )


class Chain(ctypes.Structure):
    """What ``PacelineChain`` of chain.h holds."""

    _fields_ = (
        *((name, c_int32) for name in ("num_steps", "num_tensors", "num_buffers", "num_slots")),
        *((name, c_void_p) for name in ("steps", "row_sizes", "table")),
    )


_RUN: Final = ([POINTER(Chain), c_void_p, c_void_p, c_int, c_void_p], c_int)
_SIGNATURES: Final[dict[str, tuple[list[type], type]]] = {
    "paceline_chain_level": ([], c_char_p),
    "paceline_chain_run": _RUN,  # type: ignore[dict-item]  # pointers to structures have a type of their own
    "paceline_chain_run_basic": _RUN,  # type: ignore[dict-item]
}


@cache
def load(*, holding: bool = False) -> ctypes.CDLL:
    """The library. ``holding`` calls keep the GIL: for what takes some microseconds, giving it away costs more.

    OSError if it is not there, AttributeError if it is of another version.
    """
    library = (ctypes.PyDLL if holding else ctypes.CDLL)(str(_PATH))
    for name, (arguments, result) in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    return library


@cache
def level() -> str | None:
    """The instructions that chains use here; None, and why in the log, if there are no chains: then torch does all."""
    try:
        return str(load().paceline_chain_level().decode())
    except OSError:
        _log.info("kernels for chains were not built (a C++ compiler at install time is needed); torch does their work")
    except AttributeError:
        _log.warning("kernels for chains were built from other sources; install again. torch does their work")
    return None
