from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paceline.streaming.sources.camera import Camera
from paceline.streaming.sources.feed import network
from paceline.streaming.sources.link import Patience
from tests.streaming.sources.made import SMALL, scribble, video

pytest.importorskip("av")


@contextmanager
def served(data: bytes) -> Iterator[str]:
    """A camera that closes the connection after each showing."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(30)


def test_pictures_come_at_the_size_that_is_asked_for(tmp_path: Path) -> None:
    opener = network(str(video(tmp_path / "a.ts")))
    feed = opener(None)
    assert [picture.shape for picture in feed if picture is not None] == [(48, 64, 3)] * 20
    feed.close()
    assert next(p for p in opener((32, 24)) if p is not None).shape == (24, 32, 3)


def test_damage_is_a_lost_picture(tmp_path: Path) -> None:
    path = scribble(video(tmp_path / "a.mp4"), at=0.5, share=0.1)
    pictures = list(network(str(path))(None))
    assert 0 < sum(picture is None for picture in pictures) < len(pictures)


def test_a_stream_that_is_cut_is_opened_again(tmp_path: Path) -> None:
    with served(video(tmp_path / "a.ts").read_bytes()) as url:
        camera = Camera("http", network(url), patience=Patience(stall_s=20, first_wait_s=0.001, give_up_s=20))
        for frame in camera:
            assert frame.size == SMALL
            if frame.index > 40:
                camera.close()
        assert camera.repairs["opened again: the feed ended"] >= 2
        assert camera.ended == "closed"


def test_an_address_where_nobody_answers_ends_with_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    camera = Camera("http", network(f"http://me:secret@127.0.0.1:{port}/"), patience=Patience(give_up_s=0.3))
    assert list(camera) == []
    assert "Connection refused" in camera.ended
    assert "secret" not in camera.ended
