"""Raw bytes on the socket: slow, huge and ambiguous requests."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.server.limits import Limits
from paceline.server.listen import listen
from tests.server.fakes import Running, running


@pytest.fixture(scope="module")
def strict() -> Iterator[Running]:
    limits = Limits(header_timeout_s=0.4, body_timeout_s=0.4, keep_alive_s=0.4, max_chunks=1000)
    with running(limits=limits) as server:
        yield server


def connect(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def status_of(sock: socket.socket) -> int:
    """The status of the answer; 0 if the connection ended without one."""
    try:
        line = sock.makefile("rb").readline()
    except ConnectionResetError:
        return 0
    return int(line.split()[1]) if line else 0


def resident_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_headers_without_end_are_cut_off_early(shared: Running) -> None:
    flood = b"x" * 10**8
    before = resident_bytes()
    with connect(shared) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            sock.sendall(flood)
    assert resident_bytes() - before < 32 * 2**20
    assert shared.get("/health").status_code == 200


def test_many_headers_are_refused(shared: Running) -> None:
    with connect(shared) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 10_000)
        assert status_of(sock) in (0, 400, 431)
    assert shared.get("/health").status_code == 200


def test_slow_headers_run_out_of_time(strict: Running) -> None:
    with connect(strict) as sock:
        began = time.monotonic()
        sock.sendall(b"GET /health HTTP/1.1\r\nHo")
        assert status_of(sock) == 408
        assert time.monotonic() - began >= 0.3
    with connect(strict) as sock:  # nothing was asked, so nothing is answered
        assert status_of(sock) == 0


def test_slow_headers_of_a_second_request_run_out_of_time_too(strict: Running) -> None:
    with connect(strict) as sock:
        reader = sock.makefile("rb")
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he")
        assert b" 200 " in reader.readline()
        assert reader.read().endswith(b'{"status":"ok"}')


def test_a_slow_body_runs_out_of_time(strict: Running) -> None:
    with connect(strict) as sock:
        sock.sendall(HEAD + b'Content-Length: 50\r\n\r\n{"pro')
        assert status_of(sock) == 408


def test_a_body_in_dust_is_refused(strict: Running) -> None:
    with connect(strict) as sock:
        sock.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(100):
                sock.sendall(b"1\r\nx\r\n" * 1000)
        except OSError:
            return  # cut off while we were still sending
        assert status_of(sock) in (0, 413)


def test_a_chunked_body_is_taken(strict: Running) -> None:
    with connect(strict) as sock:
        sock.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for byte in b'{"prompt": "hello", "max_tokens": 2}':
            sock.sendall(b"1\r\n" + bytes([byte]) + b"\r\n")
        sock.sendall(b"0\r\n\r\n")
        assert status_of(sock) == 200


def test_large_bodies_arrive_whole_although_they_are_parsed_in_pieces(shared: Running) -> None:
    text = "".join(chr(97 + i % 26) for i in range(3000))
    assert shared.post("/tokenize", {"prompt": text}).json()["tokens"] == list(text.encode())


def test_headers_may_come_in_pieces(shared: Running) -> None:
    with connect(shared) as sock:
        request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X-Filler: " + b"y" * 9000 + b"\r\n\r\n"
        sock.sendall(request)
        assert status_of(sock) == 200


def test_two_lengths_are_refused(shared: Running) -> None:
    for extra in (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
    ):
        with connect(shared) as sock:
            sock.sendall(HEAD + extra + b"\r\n0\r\n\r\n")
            assert status_of(sock) == 400


@pytest.mark.parametrize(
    "request_line",
    [b"GET /health", b"GET  /health HTTP/1.1", b"\x16\x03\x01\x00", b"GET /\xff HTTP/1.1"],
)
def test_what_is_not_http_1_1_is_refused(shared: Running, request_line: bytes) -> None:
    with connect(shared) as sock:
        sock.sendall(request_line + b"\r\nHost: localhost\r\n\r\n")
        assert status_of(sock) in (0, 400, 401, 404)


def test_pipelined_requests_are_answered_in_order(shared: Running) -> None:
    with connect(shared) as sock:
        sock.sendall(
            b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3
            + b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        answer = sock.makefile("rb").read()
    assert answer.count(b"HTTP/1.1 200") == 4
    assert answer.endswith(b'"}')
    assert b'"version"' in answer.rsplit(b"\r\n\r\n")[-1]


def test_more_connections_than_allowed_are_told_so() -> None:
    with running(limits=Limits(max_connections=4)) as server:
        held = [connect(server) for _ in range(4)]
        with connect(server) as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert status_of(sock) == 503
        for sock in held:
            sock.close()


def test_answers_leave_at_once() -> None:
    """Else a kept connection waits 40 ms for each answer of several writes: asyncio asks the socket what it is."""
    with listen("127.0.0.1", 0) as sock:
        sock.listen()
        with socket.create_connection(sock.getsockname()), sock.accept()[0] as accepted:
            assert accepted.proto == socket.IPPROTO_TCP


def test_headers_and_body_in_two_writes_are_one_request(shared: Running) -> None:
    body = b'{"prompt":"x","max_tokens":1}'
    with connect(shared) as sock:
        for _ in range(3):
            sock.sendall(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode())
            time.sleep(0.01)
            sock.sendall(body)
            answer = b""
            while b"finish_reason" not in answer:
                answer += sock.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
