"""``paceline serve``."""

from __future__ import annotations

import json
import secrets
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from paceline.cli import options as o
from paceline.cli.console import say, working

if TYPE_CHECKING:
    from paceline.llm.messages import ModelInfo
    from paceline.server.limits import Limits
    from paceline.server.part import Part
    from paceline.server.port import Supervised
    from paceline.server.serve import ServeOptions


def serve(
    model: Annotated[
        str | None, typer.Argument(help="A Hugging Face folder, or a hub id to download.", show_default=False)
    ] = None,
    demo: o.Demo = False,
    name: o.Name = None,
    dtype: o.DType = "auto",
    quantize: o.Quantize = None,
    device: o.Device = "auto",
    runner: o.Runner = "auto",
    threads: o.Threads = None,
    max_model_len: o.MaxModelLen = None,
    models: o.Models = None,
    adapters: o.Adapters = None,
    base: o.Base = None,
    numerics: o.Numerics = "close",
    weights_memory: o.WeightsMemory = "256MiB",
    max_tensor_body: o.MaxTensorBody = "64MiB",
    host: o.Host = "127.0.0.1",
    port: o.Port = 8000,
    drain_timeout: o.DrainTimeout = 30.0,
    metrics_compat: o.MetricsCompat = "none",
    max_num_seqs: o.MaxNumSeqs = 64,
    max_batched_tokens: o.MaxBatchedTokens = 512,
    max_step_s: o.MaxStepSeconds = 0.25,
    kv_memory: o.KvMemory = None,
    num_blocks: o.NumBlocks = None,
    prefix_caching: o.PrefixCaching = True,
    speculation: o.Speculation = "auto",
    draft: o.Draft = None,
    max_draft: o.MaxDraft = 16,
    share_outputs: o.ShareOutputs = True,
    max_queued_requests: o.MaxQueuedRequests = 256,
    max_queued_tokens: o.MaxQueuedTokens = 1_000_000,
    max_connections: o.MaxConnections = 1024,
    max_body: o.MaxBody = "4MiB",
    max_samples: o.MaxSamples = 16,
    max_prompts: o.MaxPrompts = 128,
    request_timeout: o.RequestTimeout = 600.0,
    header_timeout: o.HeaderTimeout = 10.0,
    write_stall: o.WriteStall = 30.0,
    api_key: o.ApiKey = None,
    insecure: o.Insecure = False,
    allowed_host: o.AllowedHost = None,
    allowed_origin: o.AllowedOrigin = None,
    open_metrics: o.OpenMetrics = False,
    log_format: o.LogFormat = "text",
    log_level: o.LogLevel = "warning",
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Serve MODEL through the OpenAI API, models for tensors through the Open Inference Protocol, or both, until Ctrl-C.

    Try it without a model of your own: paceline serve --demo
    """
    began = time.monotonic()
    has_language, has_tensors = model is not None or demo, models is not None or adapters is not None
    _require_one_model(model is not None, demo, has_tensors)
    limits = _limits(
        max_body, max_tensor_body,
        max_samples=max_samples, max_prompts=max_prompts, max_connections=max_connections, write_stall_s=write_stall,
        request_timeout_s=request_timeout, header_timeout_s=header_timeout, drain_timeout_s=drain_timeout,
    )  # fmt: skip
    options = _options(
        host=host, port=port, api_key=api_key, insecure=insecure, allowed_hosts=tuple(allowed_host or ()),
        allowed_origins=tuple(allowed_origin or ()), open_metrics=open_metrics, metrics_compat=metrics_compat,
        limits=limits, log_format=log_format, log_level=log_level,
    )  # fmt: skip
    served = []
    if has_language:
        served.append(_language(
            model, name, kv_memory, dtype=dtype, quantize=quantize, device=device, runner=runner, threads=threads,
            max_model_len=max_model_len, max_num_seqs=max_num_seqs, max_batched_tokens=max_batched_tokens,
            max_step_s=max_step_s, num_blocks=num_blocks, prefix_caching=prefix_caching, speculation=speculation,
            draft=draft, max_draft=max_draft, share_outputs=share_outputs,
            max_queued_requests=max_queued_requests, max_queued_tokens=max_queued_tokens,
        ))  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="paceline-adapters-") as made:
        if has_tensors:
            found = _folders(models, adapters, base, Path(made))
            served.append(_models(found, weights_memory, threads, device=device, numerics=numerics))
        raise typer.Exit(_run(options, served, began=began, quiet=quiet, as_json=as_json))


def _require_one_model(is_named: bool, demo: bool, has_tensors: bool) -> None:
    if (is_named and demo) or not (is_named or demo or has_tensors):
        wanted = "give a MODEL (a folder or a hub id), --demo, --models or --adapters"
        raise typer.BadParameter(wanted, param_hint="MODEL")


def _limits(max_body: str, max_tensor_body: str, **bounds: Any) -> Limits:
    from paceline.cli.model import parse_size
    from paceline.server.limits import Limits

    body, tensors = parse_size(max_body, "--max-body"), parse_size(max_tensor_body, "--max-tensor-body")
    return Limits(body_bytes=body, tensor_bytes=tensors, **bounds)


def _options(api_key: Sequence[str] | None, **chosen: Any) -> ServeOptions:
    from paceline.server.serve import ServeOptions

    keys = tuple(secrets.token_urlsafe(24) if key == "auto" else key for key in api_key or ())
    return ServeOptions(api_keys=keys, **chosen)


class _Served(NamedTuple):
    """A part of the server and what is said of it once it is loaded."""

    name: str
    engine: Supervised
    open: Callable[[ServeOptions], Part]
    facts: Callable[[str], dict[str, Any]]  # by the base URL
    welcome: Callable[[str, str | None], str]  # by the base URL and a key


def _language(model: str | None, name: str | None, kv_memory: str | None, **options: Any) -> _Served:
    from paceline.cli.model import choose_model, engine_config
    from paceline.llm.remote import EngineProcess
    from paceline.server.language_part import open_language

    chosen = choose_model(model, name)
    engine = EngineProcess(engine_config(chosen, kv_memory, **options))
    return _Served(
        chosen.name,
        engine,
        open=lambda options: open_language(options, engine, chosen.folder, chosen.name),
        facts=lambda url: {"url": f"{url}/v1", "model": chosen.name},
        welcome=lambda url, key: _welcome_language(url, engine.info, key),
    )


def _folders(models: str | None, adapters: str | None, base: str | None, made: Path) -> dict[str, Path]:
    """Folders of models by name; those of adapters are written into ``made``."""
    from paceline.cli.model import model_folders

    found = {} if models is None else model_folders(models)
    if adapters is None:
        return found
    from paceline.cli.serve_adapters import host_adapters, joined

    return joined(found, host_adapters(adapters, base, made))


def _models(folders: dict[str, Path], weights_memory: str, threads: int | None, **options: Any) -> _Served:
    from paceline.cli.model import parse_size
    from paceline.multiplex.config import MultiplexConfig
    from paceline.multiplex.remote import MultiplexProcess
    from paceline.server.inference_part import open_inference

    memory = parse_size(weights_memory, "--weights-memory")
    config = MultiplexConfig(memory_budget=memory, threads=1 if threads is None else threads, **options)
    engine = MultiplexProcess(folders, config)
    return _Served(
        "one model" if len(folders) == 1 else f"{len(folders)} models",
        engine,
        open=lambda options: open_inference(options, engine),
        facts=lambda url: {"models_url": f"{url}/v2", "models": sorted(engine.models)},
        welcome=lambda url, key: _welcome_models(url, sorted(engine.models), key),
    )


def _run(options: ServeOptions, served: Sequence[_Served], *, began: float, quiet: bool, as_json: bool) -> int:
    from paceline.server.part import Opening
    from paceline.server.serve import serve as run_server

    with ExitStack() as loading:
        loading.enter_context(
            working(f"loading {' and '.join(each.name for each in served)} ...", quiet=quiet or as_json)
        )

        def announce(url: str) -> None:
            loading.close()
            seconds = time.monotonic() - began
            key = options.api_keys[0] if options.api_keys else None
            if as_json:
                facts = {name: fact for each in served for name, fact in each.facts(url).items()}
                print(json.dumps({**facts, "api_keys": options.api_keys, "seconds": seconds}), flush=True)
            else:
                say("\n".join(each.welcome(url, key) for each in served), quiet=quiet)
                say(f"Ready after {seconds:.1f} s, API key: {key or 'none needed'}. Ctrl-C stops.\n", quiet=quiet)

        code = run_server(options, [Opening(each.engine, partial(each.open, options)) for each in served], announce)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end has begun: one more must not change the exit code
    say("stopped" if code == 0 else "stopped; some requests were cut short", quiet=quiet or as_json)
    return code


def _header(key: str | None) -> str:
    return f" -H 'Authorization: Bearer {key}'" if key else ""


def _welcome_language(url: str, info: ModelInfo, key: str | None) -> str:
    """What to do now, ready to paste."""
    quantized = f", {info.quantize}" if info.quantize else ""
    body = json.dumps({"model": info.name, "prompt": "def add(a, b):", "max_tokens": 32})
    return f"""
Serving {info.name} at {url}/v1
  {info.family}, {info.dtype}{quantized}, {info.runner} runner, context {info.max_model_len:,} tokens, \
KV pool {info.num_blocks * 16:,} tokens

Try it:
  curl {url}/v1/completions{_header(key)} -H 'Content-Type: application/json' \\
    -d '{body}'

From Python:
  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key or "unused"}")
  answer = client.completions.create(model="{info.name}", prompt="def add(a, b):", max_tokens=32)
  print(answer.choices[0].text)
"""


def _welcome_models(url: str, names: list[str], key: str | None) -> str:
    """The same for models that turn tensors into tensors."""
    return f"""
Serving {len(names)} models at {url}/v2: {shorten(", ".join(names), 100, placeholder=" ...")}
  Ask one what it takes and gives: curl {url}/v2/models/{names[0]}{_header(key)}
"""
