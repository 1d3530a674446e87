"""The network of the draft heads, in numpy and in the native kernels; ``heads`` has the formula."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, NamedTuple, Protocol, final

import numpy as np
from numpy.typing import NDArray

from paceline.llm import native
from paceline.llm.native import library

LEAST: Final = 0.02  # survival below which a chain ends: no policy would verify the node
WIDTH_STEP: Final = 64  # widths are padded to a multiple of this, for the kernels
MAX_DEPTH: Final = 64
_TOGETHER: Final = 8  # rows multiplied together: BLAS would wake other threads for more, which the runner needs


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """H hidden, D width, M inner (both padded), V vocabulary, C followers of each token. All arrays contiguous."""

    read: NDArray[np.float32]  # [H, D]
    read_bias: NDArray[np.float32]  # [D]
    into: NDArray[np.float32]  # [V, D] what each token adds to the state
    up: NDArray[np.float32]  # [D, M]
    up_bias: NDArray[np.float32]  # [M]
    down: NDArray[np.float32]  # [M, D]
    out: NDArray[np.float32]  # [V + 1, D], the last row: none of the followers
    bias: NDArray[np.float32]  # [V, C + 1]
    followers: NDArray[np.int32]  # [V, C]


class Guess(NamedTuple):
    """A chain and its survival, which is below ``LEAST`` where the chain has ended; the second guess at its start."""

    tokens: Sequence[int]
    survival: Sequence[float]
    second: int
    second_chance: float


class Network(Protocol):
    def guess(self, hidden: Sequence[NDArray[np.float32]], last: Sequence[int], depth: int) -> list[Guess]:
        """Chains of ``depth`` (1 to 64) tokens after each last token, from the states [H] that gave those tokens."""
        ...


def open_network(weights: HeadWeights) -> Network:
    """The fastest that runs here."""
    return InNumpy(weights) if native.obstacle() else InKernels(weights)


@final
class InNumpy:
    """About 100 µs for one chain of four on one core of a server CPU."""

    def __init__(self, weights: HeadWeights) -> None:
        self._weights = weights
        none = np.full((len(weights.followers), 1), len(weights.followers), np.int32)
        self._scored = np.concatenate((weights.followers, none), 1)  # [V, C + 1]

    def guess(self, hidden: Sequence[NDArray[np.float32]], last: Sequence[int], depth: int) -> list[Guess]:
        parts = [slice(first, first + _TOGETHER) for first in range(0, len(last), _TOGETHER)]
        return [guess for part in parts for guess in self._grow(np.array(hidden[part]), np.array(last[part]), depth)]

    def _grow(self, hidden: NDArray[np.float32], token: NDArray[np.intp], depth: int) -> list[Guess]:
        rows = np.arange(len(token))
        state = hidden @ self._weights.read
        state += self._weights.read_bias
        survival = np.ones(len(token), np.float32)
        tokens: list[list[int]] = []
        survivals: list[list[float]] = []
        seconds: list[list[int]] = []
        second_chances: list[list[float]] = []
        for level in range(depth):
            chances = self._advance(state, token)
            followers = self._weights.followers[token]
            best = chances[:, :-1].argmax(1)
            survival = survival * chances[rows, best]
            token = followers[rows, best]
            if level == 0:
                chances[rows, best] = -1.0
                second = chances[:, :-1].argmax(1)
                seconds = [followers[rows, second].tolist()]
                second_chances = [chances[rows, second].clip(min=0.0).tolist()]
            tokens.append(token.tolist())
            survivals.append(survival.tolist())
            if not max(survivals[-1]) >= LEAST:
                break
        chains = zip(*tokens, strict=True), zip(*survivals, strict=True)
        return [Guess(*parts) for parts in zip(*chains, *seconds, *second_chances, strict=True)]

    def _advance(self, state: NDArray[np.float32], token: NDArray[np.intp]) -> NDArray[np.float32]:  # -> [B, C + 1]
        """Takes a token into the state, in place; probabilities of its followers."""
        weights = self._weights
        state += weights.into[token]
        inner = state @ weights.up
        inner += weights.up_bias
        np.maximum(inner, 0.0, out=inner)
        state += inner @ weights.down
        scores: NDArray[np.float32] = np.matmul(weights.out[self._scored[token]], state[:, :, None])[:, :, 0]
        scores += weights.bias[token]
        scores -= scores.max(1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(1, keepdims=True)
        return scores


@final
class InKernels:
    """One call for all sequences, on the caller's thread."""

    def __init__(self, weights: HeadWeights) -> None:
        self._weights = weights  # whose memory the kernels read
        size, width = weights.into.shape
        names = [field.name for field in fields(weights)]
        assert all(getattr(weights, name).flags.c_contiguous for name in names)
        assert width % WIDTH_STEP == 0 == len(weights.down) % WIDTH_STEP
        pointers = {name: getattr(weights, name).ctypes.data for name in names}
        count = weights.followers.shape[1]
        self._heads = library.Heads(len(weights.read), width, len(weights.down), size, count, **pointers)
        self._call = library.load().paceline_guess
        self._make_room(8)

    def guess(self, hidden: Sequence[NDArray[np.float32]], last: Sequence[int], depth: int) -> list[Guess]:
        count = len(last)
        if count > len(self._last):
            self._make_room(2 * count)
        for row, state in enumerate(hidden):
            self._hidden[row] = state
        self._last[:count] = last
        code = self._call(
            ctypes.byref(self._heads), self._inputs[0], self._inputs[1], count, depth, LEAST, ctypes.byref(self._places)
        )
        if code == library.NO_MEMORY:
            raise MemoryError
        assert code == library.OK, "a token is out of bounds"
        tokens = self._chains[0][: count * depth].reshape(count, depth).tolist()
        survival = self._chains[1][: count * depth].reshape(count, depth).tolist()
        second, chance = self._seconds[0][:count].tolist(), self._seconds[1][:count].tolist()
        return [Guess(*parts) for parts in zip(tokens, survival, second, chance, strict=True)]

    def _make_room(self, count: int) -> None:
        self._hidden = np.empty((count, self._heads.hidden), np.float32)
        self._last = np.empty(count, np.int32)
        self._chains = np.empty(count * MAX_DEPTH, np.int32), np.empty(count * MAX_DEPTH, np.float32)
        self._seconds = np.empty(count, np.int32), np.empty(count, np.float32)
        self._inputs = self._hidden.ctypes.data, self._last.ctypes.data
        self._places = library.Guesses(*(array.ctypes.data for array in (*self._chains, *self._seconds)))
