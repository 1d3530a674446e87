"""The port of every proposer, and which ones there are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from paceline.errors import PacelineError
from paceline.llm.config import EngineConfig
from paceline.llm.draft.tree import DraftTree
from paceline.llm.model.config import ModelConfig
from paceline.registry import Registry

_log = logging.getLogger(__name__)


class Coupling(Protocol):
    """How a sequence turns logits into a token: with its own noise, penalties and grammar."""

    def guess(self, logits: NDArray[np.float32], drafts_above: Sequence[int]) -> int | None:  # [V]
        """The token these logits would give after the output and ``drafts_above``; None if none is allowed.

        The target's token comes from the same function, so similar logits give the same token
        even where it is drawn at random.
        """
        ...


@dataclass(slots=True, eq=False)
class Context:
    """One sequence as proposers and policies see it; compared by identity, the same object all its life.

    ``tokens`` (prompt, then output) grows in place. ``hidden`` [H] is the target's final normalised state of the row
    that gave the last token, if the runner was asked for it.
    """

    tokens: list[int] = field(repr=False)  # thousands of numbers would fill a log
    num_prompt: int
    temperature: float = 0.0
    salt: str = ""  # sequences of different salts must not learn of each other
    coupling: Coupling | None = None
    hidden: NDArray[np.float32] | None = field(default=None, repr=False)  # [H]


class Proposer(Protocol):
    """Guesses what comes next. One object serves all sequences; only the engine's thread calls it.

    Whatever it does wrong (an exception, a malformed tree) costs speed, never an answer.
    """

    def propose(self, contexts: Sequence[Context], depth: int) -> Sequence[DraftTree]:
        """A tree at most ``depth`` (>= 1) tokens deep for each context; ``NO_DRAFT`` for no idea."""
        ...

    def catch_up(self, contexts: Sequence[Context]) -> Sequence[tuple[int, int]]:
        """Takes in what was emitted since it was last asked, without proposing: (hits, tries) of each context.

        Only a proposer with state on a device has something to do, and grades itself meanwhile; others return zeros.
        """
        ...

    def num_missed(self, context: Context) -> int:
        """Tokens a proposal would have to compute first; 0 where there is no state to keep up."""
        ...

    def finish(self, context: Context) -> None:
        """The sequence has ended. Called once for each context, asked or not."""
        ...

    def close(self) -> None:
        """Gives memory back."""
        ...


@dataclass(frozen=True, slots=True)
class Setup:
    """What a proposer is made for."""

    config: EngineConfig
    model: ModelConfig
    folder: Path  # of the target


MakeProposer = Callable[[Setup], Proposer | None]
"""Makes a proposer; None if it has nothing to offer for this model. Raises ConfigError or ModelError."""

PROPOSERS: Registry[MakeProposer] = Registry("draft proposer")
"""Proposers by name; a package adds its own by an entry point in the group ``paceline.draft_proposer``."""

_PREFERENCE = ("lookup", "suffix", "heads", "model")

PROPOSERS.register_lazy("lookup", "paceline.llm.draft.lookup:make")
PROPOSERS.register_lazy("suffix", "paceline.llm.draft.suffix:make")
PROPOSERS.register_lazy("heads", "paceline.llm.draft.heads:make")
PROPOSERS.register_lazy("model", "paceline.llm.draft.model:make")


def open_proposers(setup: Setup) -> dict[str, Proposer]:
    """Every proposer that has something to offer for a model: the cheapest first, plug-ins last."""
    names = sorted(PROPOSERS, key=lambda name: _PREFERENCE.index(name) if name in _PREFERENCE else len(_PREFERENCE))
    proposers: dict[str, Proposer] = {}
    for name in names:
        try:
            proposer = PROPOSERS[name](setup)
        except PacelineError:
            raise  # it says what to change
        except Exception:
            _log.exception("the draft proposer %s cannot be made and is left out", name)
            continue
        if proposer is not None:
            proposers[name] = proposer
    return proposers
