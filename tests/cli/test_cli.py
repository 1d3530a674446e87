"""The command line as its users meet it: help, defaults, errors that say what to do, exit codes."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from paceline.cli import main
from paceline.cli.generate import _summary, generate
from paceline.cli.model import ChosenModel, choose_model, engine_config, parse_size
from paceline.cli.serve import serve
from paceline.errors import ConfigError, ModelError
from paceline.llm.config import EngineConfig
from paceline.llm.embedded import embedded_model
from paceline.multiplex.config import MultiplexConfig
from paceline.server.limits import Limits
from paceline.server.listen import listen
from paceline.server.serve import ServeOptions

PARAMETERS = inspect.signature(serve).parameters
HINTS = get_type_hints(serve, include_extras=True)
LIMIT_OPTIONS = {
    "drain_timeout": "drain_timeout_s", "max_connections": "max_connections", "max_samples": "max_samples",
    "max_prompts": "max_prompts", "request_timeout": "request_timeout_s", "header_timeout": "header_timeout_s",
    "write_stall": "write_stall_s",
}  # fmt: skip


def run(*arguments: str) -> int:
    """The exit code of one command in this process."""
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    return int(exit_info.value.code or 0)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PACELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize("command", ["serve", "generate", "sql", "demo", "doctor", "simulate"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    text = capsys.readouterr().out
    assert f"Usage: paceline {command}" in text
    assert "PACELINE_DEBUG" in text


def test_help_is_grouped_with_defaults_and_variables(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--help") == 0
    text = capsys.readouterr().out
    for panel in ("Model", "Server", "Scheduler", "Speculation", "Limits", "Security", "Logging"):
        assert f"─ {panel} ─" in text
    options = [name for name in PARAMETERS if name != "model"]
    for name in options:
        assert f"--{'json' if name == 'as_json' else name.replace('_', '-')}" in text
    assert text.count("PACELINE_") == len(options)
    with_default = [name for name in options if not isinstance(PARAMETERS[name].default, bool)]
    assert text.count("[default:") == len(with_default) + 2  # prefix caching, shared outputs


def test_every_option_is_documented() -> None:
    document = Path("docs/cli.md").read_text()
    for name in [name for name in PARAMETERS if name != "model"]:
        assert f"`--{'json' if name == 'as_json' else name.replace('_', '-')}`" in document, name


def test_defaults_are_those_of_the_engine_and_the_server() -> None:
    for name in {field for field in EngineConfig.__struct_fields__ if field in PARAMETERS} - {"model", "name"}:
        default = EngineConfig.__struct_defaults__[
            EngineConfig.__struct_fields__.index(name) - len(EngineConfig.__struct_fields__)
        ]
        assert PARAMETERS[name].default == default, name
    for option, limit in LIMIT_OPTIONS.items():
        assert PARAMETERS[option].default == getattr(Limits(), limit), option
    assert parse_size(PARAMETERS["max_body"].default, "") == Limits().body_bytes
    assert parse_size(PARAMETERS["max_tensor_body"].default, "") == Limits().tensor_bytes
    assert PARAMETERS["numerics"].default == MultiplexConfig().numerics
    assert parse_size(PARAMETERS["weights_memory"].default, "") == MultiplexConfig().memory_budget
    for field in fields(ServeOptions):
        if field.name in PARAMETERS and field.name != "log_level":
            assert PARAMETERS[field.name].default == field.default, field.name


def test_every_choice_of_the_engine_can_be_made() -> None:
    engine = get_type_hints(EngineConfig)
    for name in ("dtype", "device", "runner"):
        assert get_args(get_args(HINTS[name])[0]) == get_args(engine[name])
    assert set(inspect.signature(generate).parameters) - {"words"} <= {
        *PARAMETERS,
        "max_tokens",
        "temperature",
        "top_p",
        "seed",
        "stop",
        "chat",
    }


USAGE: list[tuple[tuple[str, ...], int, str]] = [
    (("serv",), 2, "Did you mean 'serve'?"),
    (("serve",), 2, "--demo"),
    (("serve", "somewhere", "--demo"), 2, "--demo"),
    (("serve", "--demo", "--prt", "1"), 2, "--port"),
    (("serve", "--demo", "--port", "99999"), 2, "--port must be in"),
    (("serve", "--demo", "--dtype", "int3"), 2, "bfloat16"),
    (("serve", "--demo", "--host", "0.0.0.0"), 2, "--insecure"),
    (("serve", "--demo", "--host", "nowhere.invalid", "--insecure"), 2, "--host"),
    (("serve", "--demo", "--api-key", "short"), 2, "--api-key auto"),
    (("serve", "--demo", "--kv-memory", "lots"), 2, "--kv-memory"),
    (("serve", "--demo", "--max-num-seqs", "0"), 2, "--max-num-seqs"),
    (("serve", "--demo", "--max-samples", "500"), 2, "--max-samples must be at most"),
    (("serve", "--demo", "--drain-timeout", "-1"), 2, "--drain-timeout must be > 0"),
    (("serve", "--demo", "--max-num-seqs", "600"), 2, "--max-batched-tokens (512) must be at least --max-num-seqs"),
    (("generate", "x", "--temperature", "-1"), 2, "--temperature must be in"),
    (("generate", "x", "--max-tokens", "0"), 2, "--max-tokens must be in"),
    (("generate", "x", "--max-model-len", "999999"), 2, "--max-model-len is 999999"),
    (("serve", "--demo", "--speculation", "smartspek"), 2, "did you mean 'smartspec'?"),
    (("serve", "--demo", "--speculation", "1.5"), 2, "--speculation must be a number or one of auto, off, table"),
    (("serve", "--demo", "--speculation", "20"), 2, "--speculation must be in [1, 16] as a number, got 20"),
    (("generate", "x", "--max-draft", "64"), 2, "--max-draft must be in [1, 63], got 64"),
    (("serve", "--demo", "--draft", "./no-such-draft"), 3, "--draft: there is no folder ./no-such-draft"),
    (("serve", "./does/not/exist"), 3, "there is no folder"),
    (("serve", "--models", "./does/not/exist"), 3, "--models: there is no folder"),
    (("serve", "--models", "docs"), 3, "holds no folders"),
    (("serve", "--models", "src", "--weights-memory", "lots"), 2, "--weights-memory"),
    (("serve", "--models", "src", "--max-tensor-body", "0"), 2, "--max-tensor-body"),
    (("serve", "--models", "src", "--threads", "0"), 2, "--threads"),
    (("serve", "not a hub id"), 3, "not a hub id"),
    (("generate", "a", "b", "c"), 2, "quotes"),
    (("generate", "./does/not/exist", "b"), 3, "there is no folder"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "says"), USAGE, ids=lambda value: " ".join(value) if isinstance(value, tuple) else None
)
def test_mistakes_are_explained(
    arguments: tuple[str, ...], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == code
    text = capsys.readouterr().err
    assert says in text
    assert "Traceback" not in text


def test_a_port_in_use_names_its_holder(capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as sock:
        sock.listen()
        port = sock.getsockname()[1]
        assert run("serve", "--demo", "--port", str(port)) == 4
    text = capsys.readouterr().err
    assert f"port {port} is in use by" in text
    assert f"(process {os.getpid()})" in text
    assert "--port 0" in text


def test_a_mistyped_folder_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "qwen3-small").mkdir()
    with pytest.raises(ModelError, match=r"did you mean .*qwen3-small"):
        choose_model(str(tmp_path / "qwen-small"))


def test_names_are_those_clients_know(tmp_path: Path) -> None:
    (tmp_path / "my-model").mkdir()
    assert choose_model(str(tmp_path / "my-model")).name == "my-model"
    assert choose_model(str(tmp_path / "my-model"), "short").name == "short"
    assert choose_model(None) == (Path(embedded_model()), "paceline-demo")


DEMO, OWN = choose_model(None), ChosenModel(Path("some/model"), "own")


@pytest.mark.parametrize(
    ("chosen", "given", "draft"),
    [
        (DEMO, {}, embedded_model("draft")),
        (DEMO, {"speculation": "off", "draft": "./not/read"}, "./not/read"),
        (DEMO, {"draft": embedded_model()}, embedded_model()),
        (OWN, {}, None),
        (OWN, {"draft": "embedded"}, embedded_model("draft")),
    ],
)
def test_the_packaged_model_drafts_with_its_own(chosen: ChosenModel, given: dict[str, Any], draft: str | None) -> None:
    assert engine_config(chosen, None, **{"draft": None, **given}).draft == draft


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("4MiB", 4 * 2**20), ("2 GiB", 2**31), ("1.5k", 1500), ("3GB", 3 * 10**9)]
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert parse_size(text, "--x") == size


@pytest.mark.parametrize("text", ["", "x", "5 apples", "-1", "0", "nan", "inf", "1e30", "GiB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--x"):
        parse_size(text, "--x")


def test_unexpected_errors_hide_their_trace_unless_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> dict[str, Any]:
        raise RuntimeError("broken")

    monkeypatch.setattr("paceline.cli.doctor.examine", fail)
    assert run("doctor") == 1
    assert "unexpected RuntimeError: broken; run again with --debug" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="broken"):
        main(["doctor", "--debug"])


def test_a_missing_package_names_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "paceline.server.serve")
    assert run("serve", "--demo") == 4
    assert "pip install 'paceline[serve]'" in capsys.readouterr().err


def test_doctor_reports_what_it_finds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor") == 0
    text = capsys.readouterr().out
    for word in ("CPU flags", "memory", "native kernels", "starlette", "demo model"):
        assert word in text
    assert run("doctor", "--json") == 0
    findings = json.loads(capsys.readouterr().out)
    assert findings["packages"]["msgspec"]["version"]
    monkeypatch.setattr("paceline.cli.doctor._PACKAGES", (("no_such_module", "no-such-package", "serve"),))
    assert run("doctor") == 1
    assert "pip install 'paceline[serve]'" in capsys.readouterr().out


@pytest.mark.parametrize(("kernels", "code"), [("available", 0), ("this CPU lacks avx512_bf16", 1)])
def test_doctor_asks_for_torch_only_where_it_is_needed(
    kernels: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("paceline.cli.doctor._kernels", lambda: kernels)
    monkeypatch.setattr("paceline.cli.doctor._PACKAGES", (("no_such_module", "torch", "llm"),))
    monkeypatch.setattr("paceline.cli.doctor._version", lambda name: None)
    assert run("doctor") == code
    text = capsys.readouterr().out
    assert ("torch MISSING" in text) == ("pip install 'paceline[llm]'" in text) == (code == 1)
    assert ("not needed" in text) == (code == 0)


def test_the_summary_names_drafts_that_were_accepted() -> None:
    answer = {"completion_tokens": 64, "first_token_s": 0.01, "tokens_per_s": 3125.4, "finish_reason": "length"}
    with_drafts = _summary({**answer, "drafted_tokens": 60, "accepted_tokens": 41})
    assert "then 3125 a second; accepted 41 of 60 drafted tokens; ended by length]" in with_drafts
    assert "drafted" not in _summary({**answer, "drafted_tokens": 6, "accepted_tokens": 0})


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert re.fullmatch(r"paceline \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_help_imports_neither_torch_nor_the_server() -> None:
    code = "import sys, paceline.cli\ntry: paceline.cli.main(['serve', '--help'])\nexcept SystemExit: pass\nprint(*sorted(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": "src"},
    )
    loaded = set(result.stdout.split())
    assert not loaded & {
        "torch",
        "numpy",
        "starlette",
        "uvicorn",
        "openai",
        "msgspec",
        "jinja2",
        "tokenizers",
        "pyarrow",
        "duckdb",
        "sqlglot",
    }
