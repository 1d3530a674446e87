"""Beats say how long the loop has been busy, and end the process when nobody hears them."""

from __future__ import annotations

import socket
import threading
import time

from paceline.process.control import Beat, FromChild
from paceline.process.frames import CONTROL, Channel, Codec
from paceline.process.heartbeat import Heartbeat

CODEC: Codec[FromChild] = Codec(FromChild)


def next_beat(channel: Channel) -> float:
    frames: list[tuple[int, bytes]] = []
    while not frames:
        frames = channel.receive(5.0)
    kind, body = frames[0]
    beat = CODEC.decode(body)
    assert kind == CONTROL
    assert isinstance(beat, Beat)
    return beat.stalled_s


def test_a_busy_loop_counts_and_an_idle_one_does_not() -> None:
    ours, theirs = socket.socketpair()
    parent, child = Channel(ours), Channel(theirs)
    heartbeat = Heartbeat(child, interval_s=0.02)
    with heartbeat.idle():
        heartbeat.start()
        assert [next_beat(parent) for _ in range(3)] == [0.0] * 3
    time.sleep(0.05)
    while next_beat(parent) < 0.05:
        pass
    heartbeat.touch()
    heartbeat.stop()
    parent.close()
    child.close()


def test_a_lost_parent_is_told_once() -> None:
    ours, theirs = socket.socketpair()
    child = Channel(theirs)
    lost = threading.Event()
    heartbeat = Heartbeat(child, interval_s=0.01, on_lost=lost.set)
    heartbeat.start()
    ours.close()
    assert lost.wait(5.0)
    child.close()


def test_a_stopped_heartbeat_does_not_mind_the_end() -> None:
    ours, theirs = socket.socketpair()
    child = Channel(theirs)
    lost = threading.Event()
    heartbeat = Heartbeat(child, interval_s=0.02, on_lost=lost.set)
    heartbeat.start()
    heartbeat.stop()
    ours.close()
    assert not lost.wait(0.1)
    child.close()
