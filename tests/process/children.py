"""A child for the tests of the supervisor: echoes, and misbehaves when told to."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import msgspec

from paceline.errors import ModelError
from paceline.process.child import Child


class Say(msgspec.Struct, tag="say"):
    text: str


class Order(msgspec.Struct, tag="order"):
    name: str
    argument: float = 0.0


class Echo(msgspec.Struct, tag="echo"):
    text: str
    pid: int


def obey(child: Child[Say | Order], order: Order) -> None:
    match order.name:
        case "hang":
            time.sleep(1000.0)
        case "exit":
            sys.exit(int(order.argument))
        case "fail":
            raise ModelError("the weights went away")
        case "garbage":
            child._channel._socket.sendall(b"\xff" * 64)
            time.sleep(1000.0)
        case "grandchild":
            started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
            child.send(Echo(text="grandchild", pid=started.pid))
        case "slow":
            time.sleep(order.argument)
            child.send(Echo(text="slow", pid=os.getpid()))
        case "print":
            print("one\ntwo", file=sys.stderr, flush=True)  # noqa: T201  (what is tested)


def main(mode: str) -> None:
    with Child[Say | Order].connect(Say | Order) as child:
        if mode == "model-error":
            raise ModelError("no config.json in the folder")
        if mode == "crash":
            raise RuntimeError("a bug while loading")
        if mode == "never-ready":
            time.sleep(1000.0)
        child.send(Echo(text="loaded", pid=os.getpid()))
        child.ready()
        while not child.draining:
            for message in child.receive(timeout_s=None):
                if isinstance(message, Say):
                    child.send(Echo(text=message.text, pid=os.getpid()))
                else:
                    obey(child, message)


if __name__ == "__main__":
    main(sys.argv[1])
