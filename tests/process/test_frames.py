"""Frames survive any chopping; garbage is an ExecutionError and nothing else."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import ExecutionError
from paceline.process.frames import (
    CONTROL,
    MAX_FRAME_BYTES,
    MESSAGE,
    Channel,
    ChannelClosed,
    Codec,
    Splitter,
    encode,
    pack,
)


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    tokens: tuple[int, ...]
    salt: str = ""


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    name: str


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = socket.socketpair()
    left, right = Channel(ours), Channel(theirs)
    yield left, right
    left.close()
    right.close()


@given(
    bodies=st.lists(st.tuples(st.sampled_from([MESSAGE, CONTROL]), st.binary(max_size=40)), max_size=8),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_frames_come_out_as_they_went_in(bodies: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(pack(kind, body) for kind, body in bodies)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    splitter = Splitter()
    seen = [frame for start, end in itertools.pairwise(edges) for frame in list(splitter.feed(stream[start:end]))]
    assert seen == bodies


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_an_execution_error(data: bytes) -> None:
    codec: Codec[Ask | Cancel] = Codec(Ask | Cancel)
    try:
        messages = [codec.decode(body) for _, body in Splitter().feed(data)]
    except ExecutionError:
        return
    assert all(isinstance(message, Ask | Cancel) for message in messages)


@given(st.binary(max_size=60))
def test_any_body_decodes_or_is_an_execution_error(body: bytes) -> None:
    codec: Codec[Ask | Cancel] = Codec(Ask | Cancel)
    try:
        assert isinstance(codec.decode(body), Ask | Cancel)
    except ExecutionError as error:
        assert "garbage" in str(error)  # noqa: PT017  (either outcome is right)


@pytest.mark.parametrize(
    "body",
    [b"\x91" * 100_000, msgspec.msgpack.encode({"type": "ask", "tokens": "no"}), msgspec.msgpack.encode({"type": "x"})],
    ids=["too deep", "wrong field", "unknown tag"],
)
def test_wrong_messages_are_refused(body: bytes) -> None:
    codec: Codec[Ask | Cancel] = Codec(Ask | Cancel)
    with pytest.raises(ExecutionError, match="garbage"):
        codec.decode(body)


@given(st.builds(Ask, tokens=st.tuples(st.integers(0, 2**31)), salt=st.text()) | st.builds(Cancel, name=st.text()))
def test_messages_survive_the_trip(message: Ask | Cancel) -> None:
    codec: Codec[Ask | Cancel] = Codec(Ask | Cancel)
    assert codec.decode(encode(message)) == message


def test_size_is_limited_on_both_sides() -> None:
    with pytest.raises(ExecutionError, match="over the limit"):
        pack(MESSAGE, bytes(MAX_FRAME_BYTES + 1))
    with pytest.raises(ExecutionError, match="garbage"):
        list(Splitter().feed(b"\xff\xff\xff\xff\x00"))
    with pytest.raises(ExecutionError, match="kind 9"):
        list(Splitter().feed(b"\x00\x00\x00\x00\x09"))


def test_what_cannot_be_encoded_is_an_execution_error() -> None:
    with pytest.raises(ExecutionError, match="cannot send a object"):
        encode(object())


def test_a_channel_blocks_until_there_is_something(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    assert right.receive(0.0) == []
    later = threading.Timer(0.05, left.send, (MESSAGE, Cancel(name="a")))
    later.start()
    assert [kind for kind, _ in right.receive(None)] == [MESSAGE]
    later.join()


def test_a_large_message_passes_a_small_socket_buffer(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    sender = threading.Thread(target=left.send, args=(MESSAGE, b"x" * 3_000_000))
    sender.start()
    frames: list[tuple[int, bytes]] = []
    while not frames:
        frames = right.receive(1.0)
    sender.join()
    assert len(frames[0][1]) > 3_000_000


def test_frames_of_several_threads_do_not_mix(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    threads = [threading.Thread(target=lambda: [left.send(MESSAGE, b"y" * 5000) for _ in range(50)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    count = 0
    while count < 150:
        count += len(right.receive(1.0))
    for thread in threads:
        thread.join()
    assert count == 150


def test_a_closed_peer_is_channel_closed(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    left.close()
    with pytest.raises(ChannelClosed):
        right.receive(1.0)
    with pytest.raises(ChannelClosed):
        right.send(MESSAGE, b"")
