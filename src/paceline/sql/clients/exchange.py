"""The network side of an endpoint's client: sends what the pacer says, retries, and hands answers over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, final

import httpx2

from paceline.clock import Clock, to_microseconds, to_seconds
from paceline.errors import ConfigError
from paceline.scheduling import Wait
from paceline.sql.clients.chat import Dialect, Meaning, Reading, read
from paceline.sql.clients.pacing import Outcome, Pacer, Send
from paceline.sql.model import Answer, Ask

MAX_BODY_BYTES: Final = 8 << 20  # of an answer; a server that sends more is not listened to

_CONNECT_S: Final = 3.0  # a server that was never there is given up after this
_MAX_MALFORMED: Final = 2  # answers that are not what was asked for, for one request


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a model is served and how long to put up with it."""

    urls: tuple[str, ...]  # of chat/completions, one per replica
    model: str
    api_key: str | None = field(repr=False)
    timeout_s: float  # of one attempt
    patience_s: float  # without any answer
    max_attempts: int  # of one request, as far as they cost something


@dataclass(slots=True)
class _Task:
    """A request and what became of it so far."""

    ask: Ask
    num_sent: int = 0
    num_failed: int = 0
    num_malformed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def count(self, reading: Reading) -> None:
        """Every answer costs, also those of no use."""
        self.prompt_tokens += reading.prompt_tokens
        self.cached_tokens += reading.cached_tokens
        self.output_tokens += reading.output_tokens

    def answer(self, text: str | None, error: str | None) -> Answer:
        return Answer(text, error, self.num_sent, self.prompt_tokens, self.cached_tokens, self.output_tokens)


@final
class Exchange:
    """The requests of one call, on their way. Lives in the thread of its event loop.

    ``answered`` is called for every request once; it must not block. ``run`` ends only by being cancelled, or with
    ConfigError for what concerns every request.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        client: httpx2.AsyncClient,
        pacer: Pacer,
        dialect: Dialect,
        clock: Clock,
        answered: Callable[[int, Answer], None],
    ) -> None:
        self._endpoint = endpoint
        self._client = client
        self._pacer = pacer
        self._clock = clock
        self._answered = answered
        self._tasks: dict[int, _Task] = {}
        self._news = asyncio.Event()
        self.dialect = dialect  # what the server is known to take
        self._started = clock.now()
        self._last_answer: int | None = None

    def put(self, number: int, ask: Ask) -> None:
        """Takes in the next request of the order."""
        self._tasks[number] = _Task(ask)
        self._pacer.submit(number, num_chars=len(ask.user), shared=ask.shared)
        self._news.set()

    async def run(self) -> None:
        """Sends until it is cancelled; whatever is in flight is then cancelled too."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._news.clear()
                now = self._clock.now()
                plan = self._pacer.schedule(now)
                if isinstance(plan, Wait):
                    await self._wait(None if plan.until is None else to_seconds(plan.until - now))
                    continue
                for send in plan:
                    group.create_task(self._send(send))

    async def _wait(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return

    async def _send(self, send: Send) -> None:
        task, dialect = self._tasks[send.number], self.dialect
        task.num_sent += 1
        try:
            async with asyncio.timeout(self._endpoint.timeout_s):
                reading = await self._post(self._endpoint.urls[send.lane], dialect, task.ask)
        except TimeoutError:
            self._fail(send, Outcome.LATE, f"no answer within {self._endpoint.timeout_s:g} s")
        except (httpx2.ConnectError, httpx2.ProxyError) as error:
            task.num_sent -= 1
            self._fail(send, Outcome.UNREACHED, f"no connection ({error})")
        except httpx2.HTTPError as error:
            self._fail(send, Outcome.BROKEN, f"the connection was lost ({error or type(error).__name__})")
        else:
            self._take(send, reading, dialect)
        self._news.set()

    async def _post(self, url: str, dialect: Dialect, ask: Ask) -> Reading:
        try:
            body = json.dumps(dialect.body(self._endpoint.model, ask)).encode()
        except ValueError as error:
            return Reading(Meaning.REFUSED, f"the JSON schema is not valid JSON: {error}")
        received = bytearray()
        async with self._client.stream("POST", url, content=body) as response:
            async for piece in response.aiter_raw():
                received += piece
                if len(received) > MAX_BODY_BYTES:
                    return Reading(Meaning.MALFORMED, f"the server's answer is longer than {MAX_BODY_BYTES} bytes")
        return read(response.status_code, response.headers, bytes(received), ask)

    def _take(self, send: Send, reading: Reading, dialect: Dialect) -> None:
        """Acts on what a server said."""
        task = self._tasks[send.number]
        task.count(reading)
        again = False
        match reading.meaning:
            case Meaning.HOPELESS:
                raise ConfigError(self._without_key(f"{self._endpoint.urls[send.lane]}: {reading.text}"))
            case Meaning.BUSY:
                self._fail(send, Outcome.BUSY, reading.text, reading.retry_after_s)
                return
            case Meaning.FAILED:
                self._fail(send, Outcome.BROKEN, reading.text)
                return
            case Meaning.ANSWER:
                self._finish(send.number, task.answer(reading.text, None))
            case Meaning.MALFORMED:
                task.num_malformed += 1
                again = task.num_malformed < _MAX_MALFORMED
            case Meaning.UNFIT:
                again = self._change_dialect(dialect, reading.text)
        self._last_answer = self._clock.now()
        self._pacer.commit(send, Outcome.ANSWERED, self._last_answer, again=again)
        if not again and reading.meaning is not Meaning.ANSWER:
            self._finish(send.number, task.answer(None, self._without_key(reading.text)))

    def _change_dialect(self, used: Dialect, refusal: str) -> bool:
        """True if the request is worth sending in another dialect; all later ones are sent in it too."""
        if used != self.dialect:  # another request has found out meanwhile
            return True
        following = used.after(refusal)
        self.dialect = following or used
        return following is not None

    def _fail(self, send: Send, outcome: Outcome, reason: str, retry_after_s: float | None = None) -> None:
        """Sends a request again, unless it or the whole call has been tried long enough."""
        task, now = self._tasks[send.number], self._clock.now()
        task.num_failed += outcome in (Outcome.LATE, Outcome.BROKEN)
        again = task.num_failed < self._endpoint.max_attempts
        if not again:
            self._finish(send.number, task.answer(None, self._without_key(f"{reason}, {task.num_failed} times")))
        self._pacer.commit(send, outcome, now, again=again, retry_after_s=retry_after_s)
        if retry_after_s is not None:  # a server that says when to come back is alive
            self._last_answer = max(self._last_answer or 0, now + to_microseconds(retry_after_s))
        self._check_patience(outcome, reason, now)

    def _check_patience(self, outcome: Outcome, reason: str, now: int) -> None:
        never_there = self._last_answer is None and outcome is Outcome.UNREACHED
        patience_s = self._endpoint.patience_s
        patience_s = min(_CONNECT_S, patience_s) if never_there else patience_s
        silent_s = to_seconds(now - (self._last_answer or self._started))
        if silent_s > patience_s:
            where = ", ".join(self._endpoint.urls)
            raise ConfigError(self._without_key(f"no answer from {where} for {silent_s:.0f} s, at last: {reason}"))

    def _finish(self, number: int, answer: Answer) -> None:
        del self._tasks[number]
        self._answered(number, answer)

    def _without_key(self, text: str) -> str:
        """Servers like to repeat a wrong key."""
        key = self._endpoint.api_key
        return text.replace(key, "***") if key else text


def completions_url(url: str) -> str:
    """Where chats are answered under a base URL, with or without its ``/v1``.

    >>> completions_url("http://127.0.0.1:8000")
    'http://127.0.0.1:8000/v1/chat/completions'
    >>> completions_url("https://api.example.com/llm/v1/")
    'https://api.example.com/llm/v1/chat/completions'
    """
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError):
        raise ConfigError(f"{url!r} is not a URL") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"the endpoint's URL must begin with http:// or https:// and a host, got {url!r}")
    if parsed.userinfo:  # it would stand in every message and log
        raise ConfigError("the endpoint's URL holds a name or password; pass it as api_key")
    path = parsed.path.rstrip("/").removesuffix("/chat/completions")
    return str(parsed.copy_with(path=f"{path or '/v1'}/chat/completions"))


def replicas(url: str | Sequence[str]) -> tuple[str, ...]:
    """The completions URLs of one server or several."""
    urls = (url,) if isinstance(url, str) else tuple(url)
    if not urls:
        raise ConfigError("an endpoint needs at least one URL")
    return tuple(completions_url(each) for each in urls)
