"""Draft heads: a small recurrent network on the target's own hidden state guesses what follows.

Medusa (Cai et al. 2024, arXiv 2401.10774) puts independent heads on the last hidden state; Hydra (Ankner et al. 2024,
arXiv 2402.05109) and ReDrafter (Zhang et al. 2024, arXiv 2403.09919) let each guess depend on the one before. So do
these, and they score few tokens: each token of the vocabulary has a list of C tokens that often follow it. With h the
hidden state of the row that gave the last token x, E the target's embeddings and R, I, U, D trained matrices::

    s   = R h + r                                     the state at the start
    s  += I E[x];  s += D relu(U s + u)               taking in a token x
    scores = out[next[x]] . s + bias[x]               of its C followers, and of "none of them"

The most probable follower is the draft, becomes x, and so on. Probabilities of "none" make the survival honest where the
list is short of the right token.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ModelError
from paceline.llm.draft.head_network import LEAST, WIDTH_STEP, Guess, HeadWeights, Network, open_network
from paceline.llm.draft.proposer import Context, Setup
from paceline.llm.draft.tree import MAX_NODES, NO_DRAFT, DraftTree
from paceline.llm.model.checkpoint import DecoderWeights, open_weights
from paceline.llm.model.config import ModelConfig
from paceline.llm.model.folder import Fields, locate, parse_object
from paceline.llm.model.tensorfile import Tensor, TensorFile, wide

FILE: Final = "draft_heads.safetensors"
METADATA: Final = "draft_heads"
VERSION: Final = 1

_log = logging.getLogger(__name__)
_PIECE: Final = 4096  # embeddings projected together


@final
class DraftHeads:
    """Proposes the likeliest chain, and the second guess at the first token as a leaf beside it.

    Survival is the product of the network's probabilities.
    """

    wants_hidden = True

    def __init__(self, network: Network) -> None:
        self._network = network

    def propose(self, contexts: Sequence[Context], depth: int) -> list[DraftTree]:
        """A tree for each context whose hidden state is known; ``NO_DRAFT`` for others."""
        known = [context for context in contexts if context.hidden is not None and context.tokens]
        if not known:
            return [NO_DRAFT] * len(contexts)
        states = [context.hidden for context in known if context.hidden is not None]
        last = [context.tokens[-1] for context in known]
        trees = [_tree(guess) for guess in self._network.guess(states, last, min(depth, MAX_NODES - 1))]
        if len(known) == len(contexts):
            return trees
        proposed = iter(trees)
        return [next(proposed) if context.hidden is not None and context.tokens else NO_DRAFT for context in contexts]

    def catch_up(self, contexts: Sequence[Context]) -> list[tuple[int, int]]:
        """Nothing to do: a hidden state is all there is to know."""
        return [(0, 0)] * len(contexts)

    def num_missed(self, context: Context) -> int:
        return 0

    def finish(self, context: Context) -> None:
        pass

    def close(self) -> None:
        pass


def _tree(guess: Guess) -> DraftTree:
    """The chain and its sibling leaf, without what is too unlikely."""
    kept = next((node for node, value in enumerate(guess.survival) if value < LEAST), len(guess.survival))
    tokens, survival = tuple(guess.tokens[:kept]), tuple(guess.survival[:kept])
    parents = tuple(range(-1, kept - 1))
    if guess.second_chance < LEAST:
        return DraftTree(tokens, parents, survival)
    return DraftTree((*tokens, guess.second), (*parents, -1), (*survival, guess.second_chance))


def make(setup: Setup) -> DraftHeads | None:
    """The heads in the target's folder; None, with a warning, if they were trained on other weights."""
    path = locate(setup.folder, FILE)
    if path is None:
        return None
    target = open_weights(setup.folder, setup.model)
    weights = read_heads(path, setup.model, target)
    return None if weights is None else DraftHeads(open_network(weights))


def fingerprint(target: DecoderWeights) -> str:
    """Tells one training state of a target from another, by a small part of its weights.

    Hexadecimal SHA-256 of the last norm and of 64 embeddings, as stored.
    """
    embed = target.embed.data
    digest = hashlib.sha256(target.final_norm.data.tobytes())
    digest.update(embed[np.linspace(0, len(embed) - 1, 64).astype(int)].tobytes())
    return digest.hexdigest()


def read_heads(path: Path, model: ModelConfig, target: DecoderWeights) -> HeadWeights | None:
    """What ``path`` holds; None if it is for other weights. ModelError if it is broken or of another version."""
    file = TensorFile(path)
    about = Fields(f"{path}: {METADATA}", parse_object(file.metadata.get(METADATA, "").encode(), f"{path}: {METADATA}"))
    if about.integer("version") != VERSION:
        raise ModelError(f"{path}: format version {about.integer('version')}, this package reads {VERSION}")
    if about.string("target") != fingerprint(target):
        _log.warning("%s is not used: it was trained on other weights than those beside it; train it again", path)
        return None
    width, inner, count = (about.integer(name) for name in ("width", "inner", "followers"))
    size, hidden = model.vocab_size, model.hidden_size

    def values(name: str, *shape: int) -> NDArray[np.float32]:
        _require(file, name)
        array = wide(file.tensor(name, shape))
        if not np.isfinite(array).all():
            raise ModelError(f"{path}: {name} holds values that are not finite")
        return array

    _require(file, "followers")
    followers = file.indices("followers", (size, count)).astype(np.int32)
    if followers.max() >= size:
        raise ModelError(f"{path}: followers names token {followers.max()}, the model has {size}")
    more = -width % WIDTH_STEP, -inner % WIDTH_STEP
    return HeadWeights(
        read=_padded(values("read", width, hidden).T, 0, more[0]),
        read_bias=_padded(values("read_bias", width), more[0]),
        into=_padded(_project(target.embed, values("into", width, hidden)), 0, more[0]),
        up=_padded(values("up", inner, width).T, *more),
        up_bias=_padded(values("up_bias", inner), more[1]),
        down=_padded(values("down", width, inner).T, more[1], more[0]),
        out=_padded(values("out", size + 1, width), 0, more[0]),
        bias=values("bias", size, count + 1),
        followers=followers,
    )


def _padded(values: NDArray[np.float32], *after: int) -> NDArray[np.float32]:
    """With so many zeros after each axis; contiguous."""
    return np.ascontiguousarray(np.pad(values, [(0, count) for count in after]))


def _require(file: TensorFile, name: str) -> None:
    if name not in file.names:
        raise ModelError(f"{file.path}: tensor {name} is missing")


def _project(embed: Tensor, into: NDArray[np.float32]) -> NDArray[np.float32]:  # [V, H], [D, H] -> [V, D]
    size = len(embed.data)
    result = np.empty((size, len(into)), np.float32)
    for first in range(0, size, _PIECE):
        piece = slice(first, first + _PIECE)
        np.matmul(wide(Tensor(embed.data[piece], embed.dtype)), into.T, out=result[piece])
    return result
