"""Who may come in: every route with and without a key, foreign hosts, foreign pages."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from starlette.routing import Route

from paceline.errors import ConfigError
from paceline.server.app import all_routes
from paceline.server.guard import Hosts, Keys
from paceline.server.inference_part import InferencePart
from paceline.server.inference_service import InferenceService
from paceline.server.language_part import LanguagePart
from paceline.server.limits import Limits
from paceline.server.serve import ServeOptions
from paceline.server.traffic import Traffic
from tests.server.fakes import FakeEngine, Running, make_service, running
from tests.server.tensor_fakes import FakeModels

KEY = "correct horse"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
PARTS = (
    LanguagePart(make_service(FakeEngine())),
    InferencePart(InferenceService(engine=FakeModels(), limits=Limits())),
)
ROUTES = [route for route in all_routes(PARTS, Traffic()) if isinstance(route, Route)]
# A route that is added must be classified here, so that nobody opens one by accident.
NEEDS_KEY = {
    "/v1/completions", "/v1/chat/completions", "/v1/models", "/v1/models/{name:path}", "/tokenize", "/detokenize",
    "/ready", "/version", "/metrics", "/", "/debug/speculation", "/v2", "/v2/health/ready", "/v2/models/{name}",
    "/v2/models/{name}/ready", "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}",
    "/v2/models/{name}/versions/{version}/ready", "/v2/models/{name}/versions/{version}/infer", "/v2/repository/index",
}  # fmt: skip
OPEN = {"/health", "/v2/health/live"}


@pytest.fixture(scope="module")
def locked() -> Iterator[Running]:
    with running(api_keys=("another key", KEY), allowed_origins=("https://app.example",)) as server:
        yield server


def raw(server: Running, method: str, path: str, *headers: str, host: str = "localhost") -> int:
    """The status of a hand-written request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall("\r\n".join(lines).encode())
        return int(sock.makefile("rb").readline().split()[1])


def test_every_route_is_classified() -> None:
    assert {route.path for route in ROUTES} == NEEDS_KEY | OPEN


@pytest.mark.parametrize("path", sorted(NEEDS_KEY))
@pytest.mark.parametrize("method", METHODS)
def test_no_method_of_a_route_works_without_a_key(locked: Running, method: str, path: str) -> None:
    path = path.replace("{name:path}", "x")
    assert raw(locked, method, path) == 401
    assert raw(locked, method, path, "Authorization: Bearer wrong") == 401
    assert raw(locked, method, path, f"Authorization: {KEY}") == 401
    assert raw(locked, method, path, f"Authorization: Bearer {KEY}", "Authorization: Bearer x") == 401
    assert raw(locked, method, path, f"Authorization: Bearer {KEY}") != 401


def test_liveness_needs_no_key(locked: Running) -> None:
    assert raw(locked, "GET", "/health") == 200
    assert raw(locked, "POST", "/health") == 405


ODD_PATHS = ["//v1/models", "/V1/models", "/v1/models/", "/%2fv1/models", "/health/../v1/models", "/v1%2fmodels", "/",
             "/health/", "//health", "/healthx", "/v1/models?/health", "/v1/models;/health", "*"]  # fmt: skip


@pytest.mark.parametrize("path", ODD_PATHS)
def test_no_spelling_of_a_path_goes_round_the_key(locked: Running, path: str) -> None:
    assert raw(locked, "GET", path) in (400, 401)


def test_an_old_version_of_http_does_not_go_round_it_either(locked: Running) -> None:
    with socket.create_connection(("127.0.0.1", locked.port), timeout=10) as sock:
        sock.sendall(b"GET /v1/models HTTP/0.9\r\nHost: localhost\r\n\r\n")
        assert b" 401 " in sock.makefile("rb").readline()


@pytest.mark.parametrize(
    "host", ["x/?", "evil.example", "127.0.0.1.evil.example", "localhost:1@evil", "", "[::2]", "10.0.0.1"]
)
def test_a_foreign_host_is_refused_with_or_without_key(locked: Running, shared: Running, host: str) -> None:
    assert raw(shared, "GET", "/v1/models", host=host) in (400, 403)
    assert raw(locked, "GET", "/health", f"Authorization: Bearer {KEY}", host=host) in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]:80", "localhost."])
def test_this_machine_has_several_names(shared: Running, host: str) -> None:
    assert raw(shared, "GET", "/v1/models", host=host) == (403 if host.endswith(".") else 200)


def test_two_hosts_or_none_are_refused(shared: Running) -> None:
    assert raw(shared, "GET", "/health", "Host: localhost") == 400
    with socket.create_connection(("127.0.0.1", shared.port), timeout=10) as sock:
        sock.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert b" 403 " in sock.makefile("rb").readline()


def test_pages_of_other_origins_are_refused(locked: Running, shared: Running) -> None:
    for origin in ("https://evil.example", "null", "http://localhost"):
        assert raw(shared, "GET", "/v1/models", f"Origin: {origin}") == 403
        assert raw(locked, "OPTIONS", "/v1/models", f"Origin: {origin}") == 403


def test_an_allowed_page_may_ask_and_read(locked: Running) -> None:
    origin = {"origin": "https://app.example"}
    preflight = locked.client.options("/v1/models", headers=origin)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert locked.get("/v1/models", headers=origin).status_code == 401
    answer = locked.get("/v1/models", headers={**origin, "authorization": f"Bearer {KEY}"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-origin" not in locked.get("/health").headers


def test_metrics_can_be_opened() -> None:
    with running(api_keys=(KEY,), open_metrics=True) as server:
        assert server.get("/metrics").status_code == 200
        assert server.get("/ready").status_code == 401


def test_keys_are_kept_as_digests_only() -> None:
    keys = Keys([KEY])
    assert KEY not in repr(vars(keys))
    assert keys.accepts(KEY)
    assert not any(keys.accepts(KEY[:length]) for length in range(len(KEY)))


def test_a_server_on_all_addresses_answers_to_numbers_only() -> None:
    hosts = Hosts("0.0.0.0", ["models.example"])
    assert hosts.allows("192.168.1.7:8000")
    assert hosts.allows("models.example")
    assert not hosts.allows("evil.example")
    assert Hosts("0.0.0.0", ["*"]).allows("anything")


def test_an_open_server_on_the_network_must_be_asked_for() -> None:
    with pytest.raises(ConfigError, match="--api-key"):
        ServeOptions(host="0.0.0.0")
    assert ServeOptions(host="0.0.0.0", insecure=True).insecure
    assert ServeOptions(host="0.0.0.0", api_keys=("long enough",)).api_keys
    with pytest.raises(ConfigError, match="8 printable"):
        ServeOptions(api_keys=("short",))
