"""The process of models: ``python -m paceline.multiplex.worker CONFIG``, started by ``remote.MultiplexProcess``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from paceline.multiplex.config import MultiplexConfig
from paceline.multiplex.messages import Load, Serve, ToEngine
from paceline.process.child import Child

if TYPE_CHECKING:
    from paceline.multiplex.desk import Desk

_LOOK_S = 1.0  # how often the work of the other thread is looked after
_DRAIN_LOOK_S = 0.02


def main() -> None:
    """Loads the models, then serves until told to drain."""
    with Child[ToEngine].connect(ToEngine) as child:
        # Imported only now: from here on this process ends with its parent.
        from paceline.multiplex.desk import Desk, open_runtime

        config = msgspec.json.decode(sys.argv[1], type=MultiplexConfig)
        with open_runtime(config) as runtime, Desk(runtime, child.send) as desk:
            serve(child, desk)


def serve(child: Child[ToEngine], desk: Desk) -> None:
    """Takes in what the parent sends, while the runtime works in a thread of its own."""
    greet(child, desk)
    while not (child.draining and desk.idle):
        patience_s = None if desk.idle else _DRAIN_LOOK_S if child.draining else _LOOK_S
        for message in child.receive(patience_s, stalled=desk.stalled()):
            desk.take(message)


def greet(child: Child[ToEngine], desk: Desk) -> None:
    """Loads every model that the parent names first, then says that this process is ready."""
    while True:
        for message in child.receive(None):
            match message:
                case Load():
                    desk.load(message)
                case Serve():
                    desk.warm_up()
                    child.ready()
                    return


if __name__ == "__main__":
    main()
