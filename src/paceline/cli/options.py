"""What can be chosen on the command line, option by option; each is also set by an environment variable."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

MODEL, MODELS, SERVER, SCHEDULER, LIMITS = "Model", "Models for tensors", "Server", "Scheduler", "Limits"
SECURITY, LOGGING, SAMPLING, SPECULATION = "Security", "Logging", "Sampling", "Speculation"


def _option(panel: str, env: str, text: str, *names: str, unset: str | None = None) -> Any:
    """An option in a help panel, also set by ``PACELINE_<env>``; ``unset`` says what happens without it."""
    shown: bool | str = True if unset is None else unset
    return typer.Option(*names, help=text, envvar=f"PACELINE_{env}", rich_help_panel=panel, show_default=shown)


# fmt: off
Demo = Annotated[bool, _option(MODEL, "DEMO", "Serve the small model that comes in the package.", "--demo")]
Name = Annotated[str | None, _option(MODEL, "NAME", "The name that clients ask for.", unset="the folder's name or the hub id")]
DType = Annotated[Literal["auto", "float32", "bfloat16", "float16"], _option(MODEL, "DTYPE", "Numbers to compute with; auto: as stored.")]
Quantize = Annotated[Literal["int8", "int4"] | None, _option(MODEL, "QUANTIZE", "Pack the weights to this width while loading.", unset="as stored")]
Device = Annotated[Literal["auto", "cpu", "cuda"], _option(MODEL, "DEVICE", "Where to compute.")]
Runner = Annotated[Literal["auto", "native", "torch"], _option(MODEL, "RUNNER", "What computes; 'paceline doctor' tells what can.")]
Threads = Annotated[int | None, _option(MODEL, "THREADS", "Threads to compute with.", unset="one per core")]
MaxModelLen = Annotated[int | None, _option(MODEL, "MAX_MODEL_LEN", "Tokens of a prompt and its answer together.", unset="as trained")]

Models = Annotated[str | None, _option(MODELS, "MODELS", "A folder; each folder in it is a model that turns tensors into tensors, served through the Open Inference Protocol.", unset="none")]
Adapters = Annotated[str | None, _option(MODELS, "ADAPTERS", "A folder; each folder in it is an adapter of 'paceline adapt train'. All share the convolutions of --base, however many they are.", unset="none")]
Base = Annotated[str | None, _option(MODELS, "BASE", "The network that the adapters were made for: a .safetensors or .pth file.", unset="the one in the package")]
Numerics = Annotated[Literal["close", "exact"], _option(MODELS, "NUMERICS", "exact: the same bits as alone, whatever runs beside it.")]
WeightsMemory = Annotated[str, _option(MODELS, "WEIGHTS_MEMORY", "Memory for further copies of weights, by which groups of models run together, per family.")]
MaxTensorBody = Annotated[str, _option(MODELS, "MAX_TENSOR_BODY", "Size of a request's body with tensors.")]

Host = Annotated[str, _option(SERVER, "HOST", "Address to listen on; one that other machines reach needs a key.")]
Port = Annotated[int, _option(SERVER, "PORT", "Port to listen on; 0 takes a free one.")]
DrainTimeout = Annotated[float, _option(SERVER, "DRAIN_TIMEOUT", "Seconds that open requests get to finish after Ctrl-C or SIGTERM.")]
MetricsCompat = Annotated[Literal["none", "vllm"], _option(SERVER, "METRICS_COMPAT", "Repeat the metrics under vLLM's names.")]

MaxNumSeqs = Annotated[int, _option(SCHEDULER, "MAX_NUM_SEQS", "Sequences in one step.")]
MaxBatchedTokens = Annotated[int, _option(SCHEDULER, "MAX_BATCHED_TOKENS", "Rows in one step.")]
MaxStepSeconds = Annotated[float, _option(SCHEDULER, "MAX_STEP_S", "Seconds; prompts are cut into chunks that keep steps shorter.", "--max-step-s")]
KvMemory = Annotated[str | None, _option(SCHEDULER, "KV_MEMORY", "Memory for keys and values, such as 2GiB.", unset="what is needed, at most a quarter of what is free")]
NumBlocks = Annotated[int | None, _option(SCHEDULER, "NUM_BLOCKS", "The same as a number of 16-token blocks.", unset="see --kv-memory")]
PrefixCaching = Annotated[bool, _option(SCHEDULER, "PREFIX_CACHING", "Keep what was computed for prompts, for the next that begin alike.")]

Speculation = Annotated[str, _option(SPECULATION, "SPECULATION", "How much is drafted ahead: auto decides step by step, off never drafts, a number drafts so many tokens; for comparison table, ema, smartspec. Answers stay the same.")]
Draft = Annotated[str | None, _option(SPECULATION, "DRAFT", "A smaller model with the same tokens to draft with: a folder, a hub id, or 'embedded'.", unset="none; the packaged model has its own")]
MaxDraft = Annotated[int, _option(SPECULATION, "MAX_DRAFT", "Tokens drafted ahead at most.")]
ShareOutputs = Annotated[bool, _option(SPECULATION, "SHARE_OUTPUTS", "Draft from answers to other requests, too; only from those with the same cache_salt.")]

MaxQueuedRequests = Annotated[int, _option(LIMITS, "MAX_QUEUED_REQUESTS", "Waiting requests; more are told to come back (429).")]
MaxQueuedTokens = Annotated[int, _option(LIMITS, "MAX_QUEUED_TOKENS", "Waiting prompt tokens; more are told to come back (429).")]
MaxConnections = Annotated[int, _option(LIMITS, "MAX_CONNECTIONS", "Open connections; more are told 503.")]
MaxBody = Annotated[str, _option(LIMITS, "MAX_BODY", "Size of a request's body.")]
MaxSamples = Annotated[int, _option(LIMITS, "MAX_SAMPLES", "Answers to one prompt (the field n); 128 is the highest.")]
MaxPrompts = Annotated[int, _option(LIMITS, "MAX_PROMPTS", "Prompts in one request.")]
RequestTimeout = Annotated[float, _option(LIMITS, "REQUEST_TIMEOUT", "Seconds that a request may take.")]
HeaderTimeout = Annotated[float, _option(LIMITS, "HEADER_TIMEOUT", "Seconds in which a request's headers must arrive.")]
WriteStall = Annotated[float, _option(LIMITS, "WRITE_STALL", "Seconds after which a stream that nobody reads is cut.")]

ApiKey = Annotated[list[str] | None, _option(SECURITY, "API_KEY", "A key that clients must send; 'auto' makes one. Repeatable. Other users of this machine can see the command line: prefer the variable.", unset="none")]
Insecure = Annotated[bool, _option(SECURITY, "INSECURE", "Let other machines in without a key.", "--insecure")]
AllowedHost = Annotated[list[str] | None, _option(SECURITY, "ALLOWED_HOST", "A further Host name to answer to; * for any. Repeatable.", unset="this machine's own")]
AllowedOrigin = Annotated[list[str] | None, _option(SECURITY, "ALLOWED_ORIGIN", "Origin of a web page that may send requests. Repeatable.", unset="none")]
OpenMetrics = Annotated[bool, _option(SECURITY, "OPEN_METRICS", "Give /metrics without a key.", "--open-metrics")]

LogFormat = Annotated[Literal["text", "json"], _option(LOGGING, "LOG_FORMAT", "Form of the log on standard error.")]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], _option(LOGGING, "LOG_LEVEL", "The least that is logged; info: every request.")]
Quiet = Annotated[bool, _option(LOGGING, "QUIET", "Print results and errors only.", "--quiet", "-q")]
AsJson = Annotated[bool, _option(LOGGING, "JSON", "Print one JSON object, for programs.", "--json")]
Debug = Annotated[bool, _option(LOGGING, "DEBUG", "Show a stack trace when something fails.", "--debug")]

MaxTokens = Annotated[int, _option(SAMPLING, "MAX_TOKENS", "Tokens to make.")]
Temperature = Annotated[float | None, _option(SAMPLING, "TEMPERATURE", "0: always the likeliest token.", unset="the model's")]
TopP = Annotated[float | None, _option(SAMPLING, "TOP_P", "Draw from the likeliest tokens with this share.", unset="the model's")]
Seed = Annotated[int | None, _option(SAMPLING, "SEED", "The same seed gives the same answer.", unset="random")]
Stop = Annotated[list[str] | None, _option(SAMPLING, "STOP", "End before this text. Repeatable.", unset="none")]
Chat = Annotated[bool, _option(SAMPLING, "CHAT", "Ask as a user does in a chat, through the model's template.", "--chat")]
# fmt: on
