"""The draft heads in torch: the network of `paceline.llm.draft.heads`, which explains it, what it learns, its file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor, nn

from paceline.llm.draft.heads import FILE, METADATA, VERSION, fingerprint
from paceline.llm.model.checkpoint import open_weights
from paceline.llm.model.families import read_config
from training.language.harvest import Text

DEPTH: Final = 5  # tokens ahead
WIDTH: Final = 128
INNER: Final = 256
NUM_FOLLOWERS: Final = 32
OFF_TEXT: Final = 0.25  # weight where the token just drawn is not the target's likeliest
NUM_POSITIONS: Final = 2048  # per step


class Positions(NamedTuple):
    """Where a draft starts: the state that gave a token, that token and those after it, the target's choices."""

    hidden: NDArray[np.float16]  # [N, H]
    tokens: NDArray[np.int32]  # [N, K] the token just drawn, then what followed
    labels: NDArray[np.int32]  # [N, K] the target's choice after each
    weights: NDArray[np.float32]  # [N, K]


def positions(text: Text) -> Positions:
    """Every place of a text where a draft may start. A depth counts as long as the text is what the target would say."""
    ids, best = text.ids, text.best
    length = ids.shape[1] - DEPTH - 1
    tokens = np.stack([ids[:, i + 1 : i + 1 + length] for i in range(DEPTH)], -1)
    labels = np.stack([best[:, i + 1 : i + 1 + length] for i in range(DEPTH)], -1)
    counts = np.stack([text.counts[:, i + 2 : i + 2 + length] for i in range(DEPTH)], -1)
    agrees = tokens[..., 1:] == labels[..., :-1]
    weights = counts.astype(np.float32)
    weights[..., 1:] *= np.cumprod(agrees, -1)
    weights *= np.where(tokens[..., :1] == best[:, :length, None], 1.0, OFF_TEXT)
    used = weights[..., 0] > 0
    return Positions(text.hidden[:, :length][used], tokens[used], labels[used], weights[used])


class Heads(nn.Module):
    """The network in torch; the target's embeddings are read, not trained."""

    embed: Tensor

    def __init__(self, embed: Tensor, followers: Tensor, width: int = WIDTH, inner: int = INNER) -> None:
        super().__init__()
        size, hidden = embed.shape
        width = min(width, hidden)
        self.register_buffer("embed", embed, persistent=False)
        self.followers = nn.Parameter(followers, requires_grad=False)  # [V, C], a parameter so that checkpoints hold it
        self.read = nn.Linear(hidden, width)
        self.into = nn.Linear(hidden, width, bias=False)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width, bias=False)
        self.out = nn.Parameter(torch.zeros(size + 1, width))  # the last row: none of those listed
        self.bias = nn.Parameter(torch.zeros(size, followers.shape[1] + 1))
        self._initialise(width)

    @torch.no_grad()
    def _initialise(self, width: int) -> None:
        """From the principal directions of the embedding, so that states start as the target's seen from afar."""
        basis = torch.linalg.eigh(self.embed.T.cov()).eigenvectors.T.flip(0)[:width]  # [D, H]
        self.out[:-1] = 0.3 * self.embed @ basis.T
        self.into.weight.copy_(basis)
        self.read.weight.copy_(0.3 * basis)
        self.read.bias.zero_()
        self.down.weight.mul_(0.3)

    def advance(self, state: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """Takes a token into the state; scores of its followers and of "none of them".  # [N, D], [N] -> [N, C + 1]"""
        state = state + self.into(self.embed[token])
        state = state + self.down(F.relu(self.up(state)))
        none = torch.full((len(token), 1), len(self.embed))
        rows = F.embedding(torch.cat((self.followers[token], none), 1), self.out)
        return state, torch.einsum("ncd,nd->nc", rows, state) + F.embedding(token, self.bias)


def loss_of(heads: Heads, batch: Positions) -> Tensor:
    """Weighted mean of the cross-entropy over all depths."""
    tokens, labels = torch.from_numpy(batch.tokens).long(), torch.from_numpy(batch.labels).long()
    weights = torch.from_numpy(batch.weights)
    state = heads.read(torch.from_numpy(batch.hidden).float())
    total, share = torch.zeros(()), 1 / weights.sum()
    for depth in range(DEPTH):
        going_on = weights[:, depth] > 0  # once the text has left the target's words, it stays away from them
        state, tokens, labels, weights = (part[going_on] for part in (state, tokens, labels, weights))
        state, scores = heads.advance(state, tokens[:, depth])
        match = heads.followers[tokens[:, depth]] == labels[:, depth, None]
        wanted = torch.where(match.any(1), match.int().argmax(1), match.shape[1])
        total = total + (F.cross_entropy(scores, wanted, reduction="none") * weights[:, depth]).sum() * share
    return total


@torch.no_grad()
def accepted_shares(heads: Heads, held_out: Positions) -> NDArray[np.float64]:
    """Share of drafts whose first 1, 2, … tokens are what the target says, over text that it says.  # -> [K]"""
    own = held_out.weights[:, 0] == 1.0
    tokens, labels = torch.from_numpy(held_out.tokens[own]).long(), torch.from_numpy(held_out.labels[own]).long()
    known = torch.from_numpy(held_out.weights[own] > 0)
    state = heads.read(torch.from_numpy(held_out.hidden[own]).float())
    alive, shares = torch.ones(len(tokens), dtype=torch.bool), []
    for depth in range(DEPTH):
        state, scores = heads.advance(state, tokens[:, depth])
        guess = heads.followers[tokens[:, depth]].gather(1, scores[:, :-1].argmax(1, keepdim=True))[:, 0]
        alive &= guess == labels[:, depth]
        shares.append(float(alive[known[:, depth]].float().mean()) if known[:, depth].any() else 0.0)
    return np.array(shares)


def find_followers(
    before: NDArray[np.integer], after: NDArray[np.integer], size: int, count: int = NUM_FOLLOWERS
) -> NDArray[np.int64]:  # [N], [N] -> [V, C]
    """The tokens that most often come after each token; where too few are known, the commonest of all.

    >>> find_followers(np.array([0, 0, 0, 1]), np.array([2, 1, 2, 0]), size=3, count=2).tolist()
    [[2, 1], [0, 2], [2, 0]]
    """
    pairs, counts = np.unique(before.astype(np.int64) * size + after, return_counts=True)
    order = np.lexsort((-counts, pairs // size))
    pairs = pairs[order]
    starts = np.searchsorted(pairs // size, np.arange(size + 1))
    common = np.argsort(-np.bincount(after, minlength=size), kind="stable")[: 2 * count].tolist()
    table = np.empty((size, count), np.int64)
    for token in range(size):
        own = (pairs[starts[token] : starts[token + 1]][:count] % size).tolist()
        table[token] = [*own, *[other for other in common if other not in own]][:count]
    return table


def write_heads(folder: Path, heads: Heads) -> None:
    """Puts the file beside the target's weights, for which alone it is."""
    arrays = {
        name: parameter.detach().numpy().astype(np.float16)
        for name, parameter in (
            ("read", heads.read.weight), ("read_bias", heads.read.bias), ("into", heads.into.weight),
            ("up", heads.up.weight), ("up_bias", heads.up.bias), ("down", heads.down.weight), ("out", heads.out),
            ("bias", heads.bias),
        )
    }  # fmt: skip
    arrays["followers"] = heads.followers.numpy().astype(np.uint16)
    about = {
        "version": VERSION,
        "target": fingerprint(open_weights(folder, read_config(folder))),
        "width": heads.read.out_features,
        "inner": heads.up.out_features,
        "followers": heads.followers.shape[1],
    }
    beside = folder / f"{FILE}.writing"
    save_file(arrays, beside, {METADATA: json.dumps(about)})
    beside.chmod(0o644)  # save_file makes it readable by its owner alone
    os.replace(beside, folder / FILE)
