"""Tries a grammar out in a process that can be killed, before this process compiles it.

No limit of the grammar engine bounds everything: an intersection of forty patterns or a large
``multipleOf`` compiles for minutes, and a chain of a thousand references overflows the stack and
ends the process. So a child, which has the tokenizer loaded, forks for every grammar: the fork has half a
second of processor time, a ceiling on memory and a small stack, walks a few tokens into the grammar
and reports. A grammar that it survives is harmless here.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, final

import llguidance
import msgspec

from paceline.errors import NotReady
from paceline.llm.grammar_source import TOO_COMPLEX
from paceline.process.frames import MESSAGE, Channel, ChannelClosed, Codec

MAX_CPU_S = 0.5
MAX_WALL_S = 1.5  # a busy machine gives the child less than a processor
MAX_MASK_CPU_S = 0.05  # of one step: while it runs, every sequence of the batch waits
MAX_EXTRA_BYTES = 96 * 2**20

# The grammar engine's own bounds, per matcher. Ordinary schemas need a hundredth of either.
STEP_FUEL = 50_000  # of one mask: some ten milliseconds
MAX_LEXER_STATES = 20_000  # one to two kilobytes each

_START_S = 60.0
_ANSWER_S = MAX_WALL_S + 0.4
_MAX_ERROR_CHARACTERS = 1000
_MAX_VERDICT_BYTES = 8192  # fits a pipe at once
_IDLE_S = 60.0
_STACK_BYTES = 2**20
_NUM_WALKS, _NUM_STEPS = 3, 12


class Probe(msgspec.Struct):
    source: str


class Verdict(msgspec.Struct):
    """``error`` is the grammar engine's own text, None for a good grammar; ``num_bytes`` its memory."""

    error: str | None = None
    num_bytes: int = 0


def make_tokenizer(tokenizer_json: str, vocab_size: int, eos_ids: Sequence[int]) -> Any:
    """The grammar engine's view of a tokenizer, with at least ``vocab_size`` ids. ValueError if it has none."""
    try:
        return llguidance.LLTokenizer(tokenizer_json, n_vocab=vocab_size, eos_token=list(eos_ids))
    except ValueError:  # the file has more ids than the model
        return llguidance.LLTokenizer(tokenizer_json, eos_token=list(eos_ids))


def make_matcher(tokenizer: Any, source: str) -> Any:
    """A compiled grammar at its beginning; look at its ``get_error``."""
    limits = llguidance.LLParserLimits(
        step_lexer_fuel=STEP_FUEL, max_lexer_states=MAX_LEXER_STATES, verbose_errors=False
    )
    return llguidance.LLMatcher(tokenizer, source, log_level=0, limits=limits)


# ── the parent's side ────────────────────────────────────────────────────────────────────────────


@final
class GrammarProbe:
    """The child, started when first needed and again after each death. Safe to call from several threads."""

    def __init__(self, tokenizer_json: str, vocab_size: int, eos_ids: Sequence[int]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - stays open for every child
        self._file.write(tokenizer_json.encode())
        self._file.flush()
        weakref.finalize(self, self._file.close)
        self._arguments = [str(vocab_size), ",".join(map(str, eos_ids))]
        self._lock = threading.Lock()
        self._child: _ChildProcess | None = None

    def check(self, source: str) -> Verdict:
        """Compiles and walks ``source`` over there. Returns after at most two seconds, when the child is up.

        NotReady if there is no process to be had.
        """
        with self._lock:
            for _ in range(2):
                child = self._ready_child()
                verdict = child.ask(source)
                if verdict is not None:
                    return verdict
                self._child = None
                if child.end() != 0:  # it did not leave by itself, for want of work
                    break
        return Verdict(TOO_COMPLEX)

    def close(self) -> None:
        """Ends the child."""
        with self._lock:
            if self._child:
                self._child.end()
            self._child = None
            self._file.close()

    def _ready_child(self) -> _ChildProcess:
        if self._child is None or self._child.exited:
            self._child = self._spawn()
        return self._child

    def _spawn(self) -> _ChildProcess:
        ours, theirs = socket.socketpair()
        descriptors = (theirs.fileno(), self._file.fileno())
        command = [sys.executable, "-P", "-m", __name__, *map(str, descriptors), *self._arguments]
        quiet = subprocess.DEVNULL
        try:
            with theirs:
                process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, pass_fds=descriptors)
        except OSError as error:
            ours.close()
            raise NotReady(f"cannot start the process that checks grammars: {error.strerror or error}") from error
        return _ChildProcess(process, Channel(ours))


class _ChildProcess:
    def __init__(self, process: subprocess.Popen[bytes], channel: Channel) -> None:
        self._process = process
        self._channel = channel
        self._codec: Codec[Verdict] = Codec(Verdict)
        self._frames: deque[tuple[int, bytes]] = deque()
        self._up = False
        self._finalizer = weakref.finalize(self, _end, process, channel)

    @property
    def exited(self) -> bool:
        return self._process.poll() is not None

    def ask(self, source: str) -> Verdict | None:
        """The answer, None when there is none in time. The first message of a child says that it is up."""
        try:
            self._channel.send(MESSAGE, Probe(source))
            self._up = self._up or self._receive(_START_S) is not None
            return self._receive(_ANSWER_S) if self._up else None
        except ChannelClosed:
            return None

    def end(self) -> int:
        """Makes sure that it is gone; the code it left with."""
        self._finalizer()
        return int(self._process.returncode)

    def _receive(self, timeout_s: float) -> Verdict | None:
        deadline = time.monotonic() + timeout_s
        while not self._frames and (left := deadline - time.monotonic()) > 0:
            self._frames += self._channel.receive(left)
        return self._codec.decode(self._frames.popleft()[1]) if self._frames else None


def _end(process: subprocess.Popen[bytes], channel: Channel) -> None:
    channel.close()
    try:
        process.wait(0.05)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# ── the child's side ─────────────────────────────────────────────────────────────────────────────


def main(channel_fd: int, file_fd: int, vocab_size: int, eos_ids: Sequence[int]) -> None:
    """Answers grammar after grammar until the parent closes or has no work for a minute."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the parent
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    channel = Channel(socket.socket(fileno=channel_fd))
    codec: Codec[Probe] = Codec(Probe)
    tokenizer = make_tokenizer(_read_all(file_fd), vocab_size, eos_ids)
    channel.send(MESSAGE, Verdict())
    with contextlib.suppress(ChannelClosed):
        for body in _messages(channel):
            channel.send(MESSAGE, _try_in_fork(tokenizer, codec.decode(body).source))


def _messages(channel: Channel) -> Iterator[bytes]:
    """What the parent sends, until nothing has come for a minute."""
    last = time.monotonic()
    while (left := last + _IDLE_S - time.monotonic()) > 0:
        for _, body in channel.receive(left):
            yield body
            last = time.monotonic()


def _try_in_fork(tokenizer: Any, source: str) -> Verdict:
    reader, writer = os.pipe()
    fork = os.fork()
    if fork == 0:
        try:
            _set_limits()
            os.write(writer, msgspec.msgpack.encode(examine(tokenizer, source)))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb", buffering=0) as answer:
        came = bool(select.select([answer], [], [], MAX_WALL_S)[0])
        body = answer.read(_MAX_VERDICT_BYTES) if came else b""
    os.kill(fork, signal.SIGKILL)
    os.waitpid(fork, 0)
    return msgspec.msgpack.decode(body, type=Verdict) if body else Verdict(TOO_COMPLEX)


def _set_limits() -> None:
    """Over one of them the kernel ends this process, or an allocation fails and the grammar engine aborts it."""
    # Less than any thread of the parent has: what overflows its stack must do so here.
    resource.setrlimit(resource.RLIMIT_STACK, (_STACK_BYTES, resource.RLIM_INFINITY))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_statm(0) + MAX_EXTRA_BYTES, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)


def examine(tokenizer: Any, source: str) -> Verdict:
    """Compiles a grammar and walks into it along tokens that it allows, chosen by chance."""
    before = _resident_bytes()
    matcher = make_matcher(tokenizer, source)
    chance = random.Random(0)
    for _ in range(_NUM_WALKS):
        if error := matcher.get_error() or _walk(matcher.deep_copy(), tokenizer, chance):
            return Verdict(error[:_MAX_ERROR_CHARACTERS])
    return Verdict(None, max(0, _resident_bytes() - before))


def _walk(matcher: Any, tokenizer: Any, chance: random.Random) -> str:
    """The error met on the way, empty if there is none."""
    for _ in range(_NUM_STEPS):
        start = time.thread_time()
        mask = matcher.compute_bitmask()
        if time.thread_time() - start > MAX_MASK_CPU_S:
            return TOO_COMPLEX
        allowed = [token for token in _bits(mask) if token not in tokenizer.eos_tokens]
        if matcher.is_error() or matcher.is_stopped() or not allowed:
            break
        matcher.consume_token(chance.choice(allowed))
    return str(matcher.get_error())


def _bits(mask: bytes) -> list[int]:
    return [8 * index + bit for index, byte in enumerate(mask) if byte for bit in range(8) if byte >> bit & 1]


def _read_all(descriptor: int) -> str:
    """A shared file from its beginning, whatever its offset."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()


def _resident_bytes() -> int:
    return _statm(1) if sys.platform == "linux" else 0


def _statm(column: int) -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[column]) * resource.getpagesize()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), [int(eos) for eos in sys.argv[4].split(",")])
