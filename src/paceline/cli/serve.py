"""``paceline serve``."""

from __future__ import annotations

import json
import secrets
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from paceline.cli import options as o
from paceline.cli.console import say, working

if TYPE_CHECKING:
    from paceline.cli.model import ChosenModel
    from paceline.llm.config import EngineConfig
    from paceline.llm.messages import ModelInfo
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
    """Serve MODEL through the OpenAI API until Ctrl-C.

    Try it without a model of your own: paceline serve --demo
    """
    began = time.monotonic()
    if (model is None) == (not demo):
        raise typer.BadParameter("give either a MODEL (a folder or a hub id) or --demo", param_hint="MODEL")
    from paceline.cli.model import choose_model, engine_config, parse_size
    from paceline.server.limits import Limits
    from paceline.server.serve import ServeOptions

    keys = tuple(secrets.token_urlsafe(24) if key == "auto" else key for key in api_key or ())
    limits = Limits(
        body_bytes=parse_size(max_body, "--max-body"), max_samples=max_samples, max_prompts=max_prompts,
        max_connections=max_connections, request_timeout_s=request_timeout, header_timeout_s=header_timeout,
        write_stall_s=write_stall, drain_timeout_s=drain_timeout,
    )  # fmt: skip
    options = ServeOptions(
        host=host, port=port, api_keys=keys, insecure=insecure, allowed_hosts=tuple(allowed_host or ()),
        allowed_origins=tuple(allowed_origin or ()), open_metrics=open_metrics, metrics_compat=metrics_compat,
        limits=limits, log_format=log_format, log_level=log_level,
    )  # fmt: skip
    chosen = choose_model(model, name)
    config = engine_config(
        chosen, kv_memory, dtype=dtype, quantize=quantize, device=device, runner=runner, threads=threads,
        max_model_len=max_model_len, max_num_seqs=max_num_seqs, max_batched_tokens=max_batched_tokens,
        max_step_s=max_step_s, num_blocks=num_blocks, prefix_caching=prefix_caching,
        speculation=speculation, draft=draft, max_draft=max_draft, share_outputs=share_outputs,
        max_queued_requests=max_queued_requests, max_queued_tokens=max_queued_tokens,
    )  # fmt: skip
    raise typer.Exit(_run(options, config, chosen, began=began, quiet=quiet, as_json=as_json))


def _run(
    options: ServeOptions, config: EngineConfig, chosen: ChosenModel, *, began: float, quiet: bool, as_json: bool
) -> int:
    from paceline.llm.remote import EngineProcess
    from paceline.server.serve import serve as run_server

    engine = EngineProcess(config)
    with ExitStack() as loading:
        loading.enter_context(working(f"loading {chosen.name} ...", quiet=quiet or as_json))

        def announce(url: str) -> None:
            loading.close()
            seconds = time.monotonic() - began
            if as_json:
                ready = {"url": f"{url}/v1", "model": chosen.name, "api_keys": options.api_keys, "seconds": seconds}
                print(json.dumps(ready), flush=True)
            else:
                say(_welcome(url, engine.info, options.api_keys, seconds), quiet=quiet)

        code = run_server(options, engine, chosen.folder, chosen.name, announce)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end has begun: one more must not change the exit code
    say("stopped" if code == 0 else "stopped; some requests were cut short", quiet=quiet or as_json)
    return code


def _welcome(url: str, info: ModelInfo, keys: tuple[str, ...], seconds: float) -> str:
    """What to do now, ready to paste."""
    key = keys[0] if keys else None
    header = f" -H 'Authorization: Bearer {key}'" if key else ""
    quantized = f", {info.quantize}" if info.quantize else ""
    body = json.dumps({"model": info.name, "prompt": "def add(a, b):", "max_tokens": 32})
    return f"""
Serving {info.name} at {url}/v1   (ready after {seconds:.1f} s)
  {info.family}, {info.dtype}{quantized}, {info.runner} runner, context {info.max_model_len:,} tokens, \
KV pool {info.num_blocks * 16:,} tokens
  API key: {key or "none needed"}

Try it:
  curl {url}/v1/completions{header} -H 'Content-Type: application/json' \\
    -d '{body}'

From Python:
  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key or "unused"}")
  answer = client.completions.create(model="{info.name}", prompt="def add(a, b):", max_tokens=32)
  print(answer.choices[0].text)

Ctrl-C stops: open requests may finish first.
"""
