"""``paceline generate``."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paceline.cli import options as o
from paceline.cli.console import say, working

if TYPE_CHECKING:
    from paceline.llm import Engine
    from paceline.llm.request import SamplingParams


def generate(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] PROMPT", help="A folder or hub id, without one the packaged model; and the text to continue, '-' reads it from standard input.",
            show_default=False,
        ),
    ],
    max_tokens: o.MaxTokens = 64,
    temperature: o.Temperature = None,
    top_p: o.TopP = None,
    seed: o.Seed = None,
    stop: o.Stop = None,
    chat: o.Chat = False,
    dtype: o.DType = "auto",
    quantize: o.Quantize = None,
    device: o.Device = "auto",
    runner: o.Runner = "auto",
    threads: o.Threads = None,
    max_model_len: o.MaxModelLen = None,
    speculation: o.Speculation = "auto",
    draft: o.Draft = None,
    max_draft: o.MaxDraft = 16,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:  # fmt: skip
    """Continue PROMPT in this process, without a server, and print the answer as it comes.

    Example: paceline generate "def add(a, b):"
    """
    if len(words) > 2:
        raise typer.BadParameter("give at most a MODEL and a PROMPT; put the prompt in quotes", param_hint="PROMPT")
    from paceline.cli.model import choose_model, engine_config
    from paceline.llm import Engine
    from paceline.llm.chat import ChatTemplate
    from paceline.llm.loading import default_params

    chosen = choose_model(words[0] if len(words) == 2 else None)
    prompt = sys.stdin.read() if words[-1] == "-" else words[-1]
    config = engine_config(
        chosen, None, dtype=dtype, quantize=quantize, device=device, runner=runner, threads=threads,
        max_model_len=max_model_len, max_num_seqs=1, speculation=speculation, draft=draft, max_draft=max_draft,
    )  # fmt: skip
    with working(f"loading {chosen.name} ...", quiet=quiet or as_json):
        engine = Engine(config)
    with engine:
        given = {"temperature": temperature, "top_p": top_p, "seed": seed, "stop": tuple(stop) if stop else None}
        params = _with(default_params(engine.defaults), max_tokens=max_tokens, **given)
        if chat:
            template = ChatTemplate.from_folder(chosen.folder, engine.tokenizer)
            answer = _stream(engine, template.encode([{"role": "user", "content": prompt}]), params, shows=not as_json)
        else:
            answer = _stream(engine, prompt, params, shows=not as_json)
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        print()
        say(_summary(answer), quiet=quiet or not sys.stderr.isatty())


def _summary(answer: dict[str, Any]) -> str:
    drafts = f"accepted {answer['accepted_tokens']} of {answer['drafted_tokens']} drafted tokens; "
    return (
        f"[{answer['completion_tokens']} tokens, first after {answer['first_token_s']:.2f} s, "
        f"then {answer['tokens_per_s']:.0f} a second; {drafts if answer['accepted_tokens'] else ''}"
        f"ended by {answer['finish_reason']}]"
    )


def _with(params: SamplingParams, **given: Any) -> SamplingParams:
    import msgspec

    return msgspec.structs.replace(params, **{name: value for name, value in given.items() if value is not None})


def _stream(engine: Engine, prompt: str | list[int], params: SamplingParams, *, shows: bool) -> dict[str, Any]:
    """Runs the prompt, printing text as it comes; what is worth telling of it."""
    began = time.monotonic()
    text, times, num_tokens = "", [], 0
    for delta in engine.stream(prompt, params):
        times.append(time.monotonic())
        text += delta.text
        num_tokens += len(delta.token_ids)
        if shows:
            print(delta.text, end="", flush=True)
    later = times[-1] - times[0]
    return {
        "text": text,
        "finish_reason": delta.finish_reason,
        "completion_tokens": num_tokens,
        "drafted_tokens": delta.num_drafted,
        "accepted_tokens": delta.num_accepted,
        "first_token_s": round(times[0] - began, 4),
        "tokens_per_s": round((num_tokens - 1) / later, 1) if later > 0 else 0.0,
    }
