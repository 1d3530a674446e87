"""The C interface of the kernels: structures, signatures, and whether they can run here."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_float, c_int, c_int32, c_uint64, c_void_p
from functools import cache
from pathlib import Path

_PATH = Path(__file__).with_name("kernels.so")

OK, NO_MEMORY, NO_THREADS, BAD_BATCH = 0, 1, 2, 3


class Spec(ctypes.Structure):
    """What ``PacelineSpec`` of model.h holds."""

    _fields_ = (
        *((name, c_int32) for name in ("vocab", "hidden", "layers", "heads", "kv_heads", "head_dim", "feed_forward")),
        ("window", c_int32),  # 0: none
        ("dtype", c_int32),  # position in DTYPES
        ("quantize", c_int32),  # 0, 8 or 4
        *((name, c_int32) for name in ("num_blocks", "max_rows", "max_positions", "threads")),
        ("epsilon", c_float),
    )


class Layer(ctypes.Structure):
    """What ``PacelineLayer`` of model.h holds; null where the family has no such weight."""

    _fields_ = tuple(
        (name, c_void_p)
        for name in (
            "input_norm", "post_norm", "q_bias", "k_bias", "v_bias", "o_bias", "q_norm", "k_norm",
            "q", "k", "v", "o", "gate", "up", "down",
        )
    )  # fmt: skip


class Ends(ctypes.Structure):
    """What ``PacelineEnds`` of model.h holds."""

    _fields_ = tuple((name, c_void_p) for name in ("embed", "head", "final_norm", "cos", "sin"))


class Batch(ctypes.Structure):
    """What ``PacelineBatch`` of batch.h holds."""

    _fields_ = (
        *((name, c_int32) for name in ("num_rows", "num_seqs", "table_width", "num_logits")),
        *(
            (name, c_void_p)
            for name in (
                "token_ids", "positions", "row_starts", "num_cached", "block_tables", "ancestors", "logit_rows",
            )
        ),
    )  # fmt: skip


class Heads(ctypes.Structure):
    """What ``PacelineHeads`` of heads.cpp holds."""

    _fields_ = (
        *((name, c_int32) for name in ("hidden", "width", "inner", "vocab", "count")),
        *(
            (name, c_void_p)
            for name in ("read", "read_bias", "into", "up", "up_bias", "down", "out", "bias", "followers")
        ),
    )


class Guesses(ctypes.Structure):
    """What ``PacelineGuesses`` of heads.cpp holds."""

    _fields_ = tuple((name, c_void_p) for name in ("tokens", "survival", "second", "second_chance"))


DTYPES = ("float32", "bfloat16", "float16")

_SIGNATURES: dict[str, tuple[list[type], type | None]] = {
    "paceline_cpu_missing": ([], c_char_p),
    "paceline_create": ([POINTER(Spec), POINTER(c_void_p)], c_int),
    "paceline_load_layer": ([c_void_p, c_int, POINTER(Layer)], c_int),
    "paceline_load_ends": ([c_void_p, POINTER(Ends)], c_int),
    "paceline_forward": ([c_void_p, POINTER(Batch), c_void_p, c_void_p], c_int),
    "paceline_guess": (
        [POINTER(Heads), c_void_p, c_void_p, c_int, c_int, c_float, POINTER(Guesses)],
        c_int,
    ),
    "paceline_draw": ([c_void_p, c_int, c_int, c_double, c_uint64, c_void_p, c_int], c_int),
    "paceline_move": ([c_void_p, c_void_p, c_void_p, c_int], c_int),
    "paceline_weight_bytes": ([c_void_p], c_uint64),
    "paceline_destroy": ([c_void_p], None),
    "paceline_quantize": ([c_void_p, c_int, c_void_p, c_void_p], None),
}


@cache
def load() -> ctypes.CDLL:
    """The library; calls release the GIL. OSError if it is not there, AttributeError if it is of another version."""
    library = ctypes.CDLL(str(_PATH))
    for name, (arguments, result) in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    return library


def obstacle() -> str | None:
    """Why the native runner cannot run on this machine; None if it can."""
    try:
        missing = load().paceline_cpu_missing()
    except OSError:
        return "the kernels were not built (a C++ compiler at install time is needed)"
    except AttributeError:
        return "the kernels were built from other sources; install again"
    return None if missing is None else f"the processor has no {missing.decode()}"
