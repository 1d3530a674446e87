"""Who may come in: host names, browser origins and API keys, decided before any route is looked up.

Everything is refused unless it is allowed: a new route needs a key without its author doing anything.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable
from typing import final

from starlette.types import Scope

from paceline.server.faults import Fault, Refused, bad_request

LIVENESS_PATHS = frozenset({"/health", "/v2/health/live"})
METRICS_PATH = "/metrics"
TENSORS_AT = b"inference-header-content-length"  # where a body's JSON ends and its tensors begin
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.-]+))(?::\d{1,5})?")
_WILDCARDS = frozenset({"0.0.0.0", "::", ""})


@final
class Keys:
    """API keys, kept as SHA-256 digests only.

    >>> keys = Keys(["sesame"])
    >>> keys.accepts("sesame"), keys.accepts("sesam")
    (True, False)
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(hashlib.sha256(key.encode()).digest() for key in keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accepts(self, key: str) -> bool:
        """Compares with every key, each in constant time, so that timing tells nothing."""
        digest = hashlib.sha256(key.encode()).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found


@final
class Hosts:
    """Which ``Host`` headers are answered; the others may be a rebound DNS name of somebody else's page.

    A numeric address cannot be rebound, so a server that listens on all addresses answers to any.

    >>> Hosts("127.0.0.1").allows("localhost:8000"), Hosts("127.0.0.1").allows("evil.example")
    (True, False)
    """

    def __init__(self, bind: str, extra: Iterable[str] = ()) -> None:
        names = {name.lower().rstrip(".") for name in extra}
        self._any = "*" in names
        self._numeric = bind in _WILDCARDS
        self._names = _LOOPBACK_NAMES | names | {bind.lower()}

    def allows(self, header: str) -> bool:
        found = _HOST.fullmatch(header)
        if found is None:
            return False
        host = (found["address"] or found["name"]).lower()
        return self._any or host in self._names or (self._numeric and _is_address(host))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@final
class Guard:
    """The one door. Without keys every caller whose host and origin are allowed comes in."""

    def __init__(self, keys: Keys, hosts: Hosts, *, origins: Iterable[str] = (), open_metrics: bool = False) -> None:
        self._keys = keys
        self._hosts = hosts
        self._origins = frozenset(origins)
        self._open_paths = LIVENESS_PATHS | ({METRICS_PATH} if open_metrics else set())

    def check(self, scope: Scope) -> None:
        """Returns if the request may go on, else raises Refused: 400, 401 or 403."""
        headers = scope["headers"]
        _check_framing(headers)
        host = _only(headers, b"host")
        if host is None or not self._hosts.allows(host):
            raise _forbidden("this server does not answer to that Host; start it with --allowed-host", "host_refused")
        origin = _only(headers, b"origin", absent="")
        if origin != "" and origin not in self._origins:
            raise _forbidden(
                "requests of web pages from that Origin are refused; see --allowed-origin", "origin_refused"
            )
        if scope["path"] in self._open_paths or not self._keys or self.is_preflight(scope):
            return
        scheme, _, key = (_only(headers, b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not self._keys.accepts(key.strip()):
            raise Refused(
                Fault(
                    status=401, message="an API key is needed: 'Authorization: Bearer KEY'",
                    type="authentication_error", code="invalid_api_key", headers=((b"www-authenticate", b"Bearer"),),
                )
            )  # fmt: skip

    def is_preflight(self, scope: Scope) -> bool:
        """A browser's question whether an allowed page may send a request; it never carries a key."""
        return scope["method"] == "OPTIONS" and _only(scope["headers"], b"origin", absent="") in self._origins

    def cors_headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """What lets an allowed page read the answer; nothing for all others."""
        origin = _only(scope["headers"], b"origin", absent="")
        if origin not in self._origins:
            return []
        return [
            (b"access-control-allow-origin", (origin or "").encode("latin-1")),
            (b"access-control-allow-headers", b"authorization, content-type, x-request-id, " + TENSORS_AT),
            (b"access-control-expose-headers", b"x-request-id, retry-after, " + TENSORS_AT),
            (b"vary", b"origin"),
        ]


def _only(headers: list[tuple[bytes, bytes]], name: bytes, absent: str | None = None) -> str | None:
    """The header's value; None if it comes twice, because two readers could pick different ones."""
    values = [value for key, value in headers if key == name]
    if not values:
        return absent
    return values[0].decode("latin-1") if len(values) == 1 else None


def _check_framing(headers: list[tuple[bytes, bytes]]) -> None:
    names = {name for name, _ in headers}
    if b"transfer-encoding" in names and b"content-length" in names:
        message = "a request has Content-Length or Transfer-Encoding, not both"
        raise bad_request(message, code="ambiguous_length", headers=((b"connection", b"close"),))


def _forbidden(message: str, code: str) -> Refused:
    return Refused(Fault(status=403, message=message, type="permission_error", code=code))
