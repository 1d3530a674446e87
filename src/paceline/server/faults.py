"""From an exception to what the client is told: an OpenAI error object, a status, nothing internal."""

from __future__ import annotations

import math
import re
from typing import final

import msgspec

from paceline.errors import (
    DeadlineExceeded,
    DeadlineInfeasible,
    EngineDied,
    InvalidRequest,
    NotReady,
    Quarantined,
    QueueFull,
)

_INTERNAL = re.compile(r"0x[0-9a-fA-F]{6,}|(?:/[\w.+-]+){2,}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_MESSAGE_CHARS = 500


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One refused or failed request, as its client sees it. ``retry_after_s`` becomes ``Retry-After``."""

    status: int
    message: str
    type: str
    code: str
    param: str | None = None
    retry_after_s: float | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def body(self) -> bytes:
        """``{"error": {"message", "type", "param", "code"}}`` as JSON."""
        error = {"message": scrub(self.message), "type": self.type, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})

    def plain_body(self) -> bytes:
        """``{"error": "…"}``, as the Open Inference Protocol says it."""
        return msgspec.json.encode({"error": scrub(self.message)})

    def all_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        if self.retry_after_s is None:
            return self.headers
        return (*self.headers, (b"retry-after", str(math.ceil(self.retry_after_s)).encode()))


@final
class Refused(Exception):
    """Ends a request with ``fault``."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@final
class ClientGone(Exception):
    """The client closed its connection; nobody is there to be answered."""


def scrub(text: str) -> str:
    """Text without addresses, paths and control characters, cut to 500 characters.

    >>> scrub("no /srv/models/a.json at 0x7f00deadbeef")
    'no [...] at [...]'
    """
    plain = _CONTROL.sub(" ", _INTERNAL.sub("[...]", text))
    return plain if len(plain) <= _MAX_MESSAGE_CHARS else plain[:_MAX_MESSAGE_CHARS] + "..."


def bad_request(
    message: str,
    param: str | None = None,
    *,
    status: int = 400,
    code: str = "invalid_value",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Refused:
    """A refusal that is the client's to mend."""
    kind = "invalid_request_error"
    return Refused(Fault(status=status, message=message, type=kind, code=code, param=param, headers=headers))


def fault_of(error: BaseException, request_id: str) -> Fault:
    """What ``error`` means to the client; an unknown one says only the request's id.

    >>> fault_of(ZeroDivisionError("secret"), "r1").message
    'internal error; the server logged it under request id r1'
    """
    match error:
        case Refused():
            return error.fault
        case InvalidRequest():
            return Fault(
                status=400, message=str(error), type="invalid_request_error", code=error.code, param=error.param
            )
        case QueueFull():
            return Fault(
                status=429, message=str(error), type="rate_limit_error", code="queue_full",
                retry_after_s=error.retry_after_s,
            )  # fmt: skip
        case DeadlineInfeasible():
            return Fault(status=504, message=str(error), type="timeout_error", code="deadline_infeasible")
        case Quarantined():
            return unavailable(str(error), "quarantined", error.retry_after_s)
        case NotReady():
            return unavailable(str(error), "not_ready", error.retry_after_s)
        case EngineDied():
            return unavailable("the engine stopped while it worked on this request", "engine_restarting", 5.0)
        case DeadlineExceeded() | TimeoutError():
            message = "the request's time ran out before it was finished"
            return Fault(status=504, message=message, type="timeout_error", code="deadline_exceeded")
        case _:
            message = f"internal error; the server logged it under request id {request_id}"
            return Fault(status=500, message=message, type="server_error", code="internal_error")


def unavailable(message: str, code: str, retry_after_s: float) -> Fault:
    return Fault(status=503, message=message, type="service_unavailable", code=code, retry_after_s=retry_after_s)
