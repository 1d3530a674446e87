"""The engine's process: ``python -m paceline.llm.worker CONFIG``, started by ``remote.EngineProcess``."""

from __future__ import annotations

import sys

import msgspec

from paceline.errors import InvalidRequest, QueueFull
from paceline.llm.config import EngineConfig
from paceline.llm.core import EngineCore
from paceline.llm.messages import Abort, AskStats, Deltas, Loaded, Refused, Stats, Submit, ToEngine
from paceline.llm.request import Request
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
    while not (child.draining and core.idle):
        for message in child.receive(timeout_s=None if core.idle else 0.0):
            match message:
                case Submit(request):
                    if refusal := submit(core, request):
                        child.send(refusal)
                case Abort(request_id):
                    core.abort(request_id)
                case AskStats():
                    child.send(Stats(core.stats()))
        if deltas := core.step():
            child.send(Deltas(deltas))


def submit(core: EngineCore, request: Request) -> Refused | None:
    """Queues a request, or says why not."""
    try:
        core.submit(request)
    except InvalidRequest as error:
        return Refused(request_id=request.request_id, message=str(error), param=error.param, code=error.code)
    except QueueFull as error:
        return Refused(request_id=request.request_id, message=str(error), retry_after_s=error.retry_after_s)
    return None


if __name__ == "__main__":
    main()
