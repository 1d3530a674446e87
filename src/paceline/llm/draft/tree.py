"""What a proposer proposes: a tree of tokens that might follow a sequence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import ge

from paceline.llm.rows import MAX_TREE_ROWS

MAX_NODES = MAX_TREE_ROWS - 1  # the row above the tree is the sequence's last token

_CHAIN = tuple(range(-1, MAX_NODES - 1))


@dataclass(frozen=True, slots=True)
class DraftTree:
    """Nodes in an order in which parents come before their children.

    ``parents[i]`` is the index of node i's parent, -1 for a node that follows the sequence itself.
    ``survival[i]`` estimates how likely node i is to be accepted, with all nodes above it; along a
    path it never rises. A chain is a tree with one branch.

    >>> tree = DraftTree.chain([5, 9], [0.8, 0.4])
    >>> len(tree), tree.parents, tree.depths()
    (2, (-1, 0), (1, 2))
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    survival: tuple[float, ...]

    @classmethod
    def chain(cls, tokens: Sequence[int], survival: Sequence[float]) -> DraftTree:
        """One branch."""
        return cls(tuple(tokens), _CHAIN[: len(tokens)], tuple(survival))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def is_chain(self) -> bool:
        """Whether there is only one branch (or nothing)."""
        return self.parents == _CHAIN[: len(self.parents)]

    def depths(self) -> tuple[int, ...]:
        """How many tokens into the future each node lies; 1 for those that follow the sequence itself."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(1 if parent < 0 else depths[parent] + 1)
        return tuple(depths)

    def keep(self, nodes: Iterable[int]) -> DraftTree:
        """The tree of ``nodes`` alone, which with each node hold its parent.

        >>> DraftTree((5, 6, 7), (-1, -1, 1), (0.5, 0.4, 0.3)).keep([1, 2])
        DraftTree(tokens=(6, 7), parents=(-1, 0), survival=(0.4, 0.3))
        """
        kept = sorted(nodes)
        place = {node: index for index, node in enumerate(kept)}
        place[-1] = -1
        return DraftTree(
            tuple([self.tokens[node] for node in kept]),
            tuple([place[self.parents[node]] for node in kept]),
            tuple([self.survival[node] for node in kept]),
        )

    def path(self, text: Sequence[int]) -> list[int]:
        """The nodes that agree with the beginning of ``text``, from the top down.

        >>> DraftTree((5, 6, 7), (-1, -1, 1), (0.5, 0.4, 0.3)).path([6, 7, 8])
        [1, 2]
        """
        path: list[int] = []
        above = -1
        for token in text:
            child = self.child(above, token)
            if child is None:
                break
            path.append(child)
            above = child
        return path

    def child(self, above: int, token: int) -> int | None:
        """The node with ``token`` under node ``above`` (-1: under the sequence)."""
        for node in range(above + 1, len(self.tokens)):
            if self.parents[node] == above and self.tokens[node] == token:
                return node
        return None

    def merged(self, other: DraftTree) -> DraftTree:
        """Both trees as one: common paths once, with the higher survival.

        >>> DraftTree.chain([5, 6], [0.5, 0.4]).merged(DraftTree.chain([5, 7], [0.6, 0.1]))
        DraftTree(tokens=(5, 6, 7), parents=(-1, 0, 0), survival=(0.6, 0.4, 0.1))
        """
        tokens, parents, survival = list(self.tokens), list(self.parents), list(self.survival)
        known = {(parent, token): node for node, (parent, token) in enumerate(zip(parents, tokens, strict=True))}
        place = {-1: -1}
        for node, (token, parent, chance) in enumerate(zip(other.tokens, other.parents, other.survival, strict=True)):
            key = (place[parent], token)
            if key in known:
                survival[known[key]] = max(survival[known[key]], chance)
            else:
                known[key] = len(tokens)
                tokens.append(token)
                parents.append(key[0])
                survival.append(chance)
            place[node] = known[key]
        return DraftTree(tuple(tokens), tuple(parents), tuple(survival))


NO_DRAFT = DraftTree((), (), ())


def defect(tree: object, vocab_size: int, max_depth: int) -> str | None:
    """What is wrong with a proposer's answer; None if nothing is.

    >>> defect(DraftTree.chain([5], [float("nan")]), vocab_size=10, max_depth=4)
    'survival must be numbers in [0, 1], got nan'
    """
    if not isinstance(tree, DraftTree):
        return f"a DraftTree was expected, got {type(tree).__name__}"
    if _is_sound_chain(tree, vocab_size, max_depth):
        return None
    if not len(tree.tokens) == len(tree.parents) == len(tree.survival):
        return f"{len(tree.tokens)} tokens, {len(tree.parents)} parents and {len(tree.survival)} survivals"
    if len(tree.tokens) > MAX_NODES:
        return f"{len(tree.tokens)} nodes, at most {MAX_NODES} can be verified"
    for node in range(len(tree.tokens)):
        fault = _node_defect(tree, node, vocab_size)
        if fault is not None:
            return fault
    deepest = max(tree.depths(), default=0)
    return f"{deepest} tokens deep, {max_depth} were asked for" if deepest > max_depth else None


def _node_defect(tree: DraftTree, node: int, vocab_size: int) -> str | None:
    token, parent, chance = tree.tokens[node], tree.parents[node], tree.survival[node]
    if not (isinstance(token, int) and 0 <= token < vocab_size):
        return f"token ids must be integers in [0, {vocab_size}), got {token!r}"
    if not (isinstance(parent, int) and -1 <= parent < node):
        return f"node {node} has parent {parent!r}; parents come first"
    if not (math.isfinite(chance) and 0.0 <= chance <= 1.0):
        return f"survival must be numbers in [0, 1], got {chance!r}"
    if parent >= 0 and chance > tree.survival[parent]:
        return f"node {node} is likelier to survive than its parent"
    return None


def _is_sound_chain(tree: DraftTree, vocab_size: int, max_depth: int) -> bool:
    """The same for what is most common, at a tenth of the time; False says nothing."""
    tokens, survival = tree.tokens, tree.survival
    num = len(tokens)
    return (
        0 < num <= min(max_depth, MAX_NODES)
        and len(survival) == num
        and tree.parents == _CHAIN[:num]
        and set(map(type, tokens)) == {int}
        and min(tokens) >= 0
        and max(tokens) < vocab_size
        and survival[0] <= 1.0
        and survival[-1] >= 0.0
        and all(map(ge, survival, survival[1:]))  # false for NaN, too
    )
