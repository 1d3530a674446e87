"""The engine's process: ``python -m paceline.llm.worker CONFIG``, started by ``remote.EngineProcess``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import msgspec

from paceline.llm.config import EngineConfig
from paceline.llm.core import EngineCore
from paceline.llm.intake import Intake
from paceline.llm.messages import (
    Abort,
    AskSpeculation,
    AskStats,
    Deltas,
    Loaded,
    Speculation,
    Stats,
    Submit,
    ToEngine,
)
from paceline.llm.request import Delta
from paceline.process.child import Child


def main() -> None:
    """Loads the model, then steps until told to drain."""
    with Child[ToEngine].connect(ToEngine) as child:
        # Imported and loaded only now: from here on this process ends with its parent.
        from paceline.llm.loading import load

        core = load(msgspec.json.decode(sys.argv[1], type=EngineConfig)).core
        child.send(Loaded(core.info))
        child.ready()
        serve(child, core)


def serve(child: Child[ToEngine], core: EngineCore) -> None:
    """Decides, acts and learns, step after step, with what the parent sends in between."""
    intake = Intake(core)
    measuring = True
    while not (child.draining and core.idle and intake.idle):
        measuring = measuring and (not core.idle or core.measure_next())  # in idle moments, and then never again
        for message in child.receive(timeout_s=0.0 if measuring or not core.idle else intake.patience_s):
            match message:
                case Submit(request):
                    if refused := intake.put(request):
                        child.send(refused)
                case Abort(request_id):
                    intake.abort(request_id)
                case AskStats():
                    child.send(Stats(core.stats()))
                case AskSpeculation():
                    child.send(Speculation(core.speculation_report()))
        for answer in intake.settle():
            child.send(answer)
        for answer in frames(core.step()):
            child.send(answer)


def frames(deltas: list[Delta]) -> Iterator[Deltas]:
    """A step's deltas in one message, or in several where scored prompts would make it too large for a frame."""
    small = [delta for delta in deltas if not delta.prompt_logprobs]
    if small:
        yield Deltas(small)
    for delta in deltas:
        if delta.prompt_logprobs:
            yield Deltas([delta])


if __name__ == "__main__":
    main()
