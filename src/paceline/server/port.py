"""What the server needs of engines and of the text side; the composition root hands them in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from paceline.llm.messages import EngineStats, ModelInfo, SpeculationReport
from paceline.llm.request import Delta, Request
from paceline.multiplex.messages import Array, RuntimeStats, TenantInfo
from paceline.process.supervisor import State


class DeltaSource(Protocol):
    """The deltas of one request, all samples mixed, until each has a finish reason."""

    def __aiter__(self) -> AsyncIterator[Delta]: ...
    async def aclose(self) -> None:
        """Aborts the request unless it has ended."""
        ...


class Supervised(Protocol):
    """An engine in a process that is started again when it ends."""

    @property
    def state(self) -> State: ...
    @property
    def num_restarts(self) -> int: ...
    async def start(self) -> None:
        """Returns when ready; ModelError or ResourceError if it never will be."""
        ...

    async def stop(self, drain_s: float) -> None: ...


class LanguageEngine(Supervised, Protocol):
    """An engine that continues token ids, wherever it runs."""

    @property
    def info(self) -> ModelInfo:
        """Raises NotReady before the model is loaded."""
        ...

    def submit(self, request: Request) -> DeltaSource:
        """Starts ``request``. It or the first step of the iterator raises InvalidRequest, QueueFull or NotReady.

        Later steps raise EngineDied when the engine is lost.
        """
        ...

    async def stats(self) -> EngineStats: ...
    async def speculation(self) -> SpeculationReport | None:
        """What is drafted and why; None if speculation is switched off."""
        ...


class TensorEngine(Supervised, Protocol):
    """An engine with many models that turn tensors into tensors."""

    @property
    def models(self) -> Mapping[str, TenantInfo]:
        """Those that were loaded."""
        ...

    @property
    def failures(self) -> Mapping[str, str]:
        """Of those that cannot be loaded any more, why."""
        ...

    async def infer(
        self, model: str, inputs: Sequence[Array], *, deadline_s: float | None = None, priority: int = 0
    ) -> list[Array]:
        """Raises RejectedError when it is not taken, ExecutionError when it fails, EngineDied when the engine is lost.

        Cancelling the call cancels the request.
        """
        ...

    async def stats(self) -> RuntimeStats: ...


class TextCodec(Protocol):
    """Text to token ids and back; safe to call from several threads."""

    def encode(self, text: str, *, allow_special: bool = False, add_special: bool = False) -> list[int]:
        """Ids of a text. Special tokens written in it are plain text unless ``allow_special``.

        ``add_special`` puts around it what the model expects around a text.
        """
        ...

    def decode(self, token_ids: Sequence[int]) -> str: ...
    def token_bytes(self, token_id: int) -> bytes:
        """The bytes one token stands for; a token may end inside a character."""
        ...

    def may_fit(self, text: str, num_tokens: int) -> bool:
        """False when ``text`` certainly needs more than ``num_tokens``; costs nothing."""
        ...


class PromptTemplate(Protocol):
    """A conversation as one text, to be encoded with special tokens allowed."""

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        /,
        *,
        add_generation_prompt: bool = True,
        **arguments: Any,
    ) -> str:
        """Raises InvalidRequest when there is no template or it refuses the conversation or an argument."""
        ...
