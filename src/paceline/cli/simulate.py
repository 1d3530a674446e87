"""``paceline simulate``: how many requests a model on a device holds, from published step times, on no device at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paceline.cli import options as o
from paceline.cli.console import console, working
from paceline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from paceline.llm.simulate.capacity import Figures, Setting
    from paceline.metrics import Slo

_PANEL = "Simulation"
_HOPED = 1.2  # times as many requests as without speculation: where looking begins


def _option(env: str, text: str, *names: str, unset: str | None = None) -> Any:
    shown: bool | str = True if unset is None else unset
    return typer.Option(
        *names, help=text, envvar=f"PACELINE_SIMULATE_{env}", rich_help_panel=_PANEL, show_default=shown
    )


# fmt: off
Model = Annotated[str, _option("MODEL", "Which model; an unknown name lists those that step times are published for.", "--model")]
Device = Annotated[str, _option("DEVICE", "On which device.", "--device")]
Ttft = Annotated[float, _option("TTFT_S", "Seconds to the first token, at most.", "--ttft-s")]
Tpot = Annotated[float, _option("TPOT_S", "Seconds for each token after it, at most, as a request's mean.", "--tpot-s")]
Share = Annotated[float, _option("SHARE", "Share of the requests that must keep both.", "--share")]
Rate = Annotated[float | None, _option("RATE", "Requests per second.", "--rate", unset="the most that keeps the limits is searched for")]
Requests = Annotated[int | None, _option("REQUESTS", "How many requests a run has.", "--requests", unset="as many as a steady load takes")]
Workload = Annotated[str, _option("WORKLOAD", "gsm8k (maths), cnn (summaries), instructcoder (code editing), sharegpt (chat), all of them mixed, or one that the acceptance file names.", "--workload")]
Trace = Annotated[Path | None, _option("TRACE", "CSV file with the arrivals and lengths of real requests; sped up or slowed down to the rate.", "--trace", unset="random arrivals, lengths as published")]
Acceptance = Annotated[Path | None, _option("ACCEPTANCE", "JSON lines that say at every position of real answers how many drafted tokens would have been right.", "--acceptance", unset="made from published acceptance curves")]
Variation = Annotated[float, _option("VARIATION", "Of the gaps between random arrivals: standard deviation over mean; 1 is Poisson, more comes in bursts.", "--variation")]
RandomSeed = Annotated[int, _option("SEED", "The same seed gives the same requests.", "--seed")]
# fmt: on


def simulate(
    model: Model = "llama-3.1-8b",
    device: Device = "H100",
    ttft_s: Ttft = 0.5,
    tpot_s: Tpot = 0.05,
    share: Share = 0.99,
    rate: Rate = None,
    requests: Requests = None,
    workload: Workload = "mixed",
    trace: Trace = None,
    acceptance: Acceptance = None,
    variation: Variation = 1.0,
    seed: RandomSeed = 0,
    speculation: o.Speculation = "auto",
    max_draft: o.MaxDraft = 16,
    max_num_seqs: o.MaxNumSeqs = 256,
    max_batched_tokens: o.MaxBatchedTokens = 8192,
    max_step_s: o.MaxStepSeconds = 0.25,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Say how many requests per second a model on a device holds, with and without speculation.

    The real scheduler and the real speculation run in virtual time over published step times: no device is needed.

    Example: paceline simulate --model llama-3.1-8b --device H100 --ttft-s 0.5 --tpot-s 0.02
    """
    from msgspec import structs

    from paceline.llm.simulate.capacity import make_setting
    from paceline.llm.simulate.published import served_model
    from paceline.llm.simulate.virtual import SIMULATED
    from paceline.metrics import Slo

    _check(ttft_s=ttft_s, tpot_s=tpot_s, variation=variation, rate=rate, share=share)
    config = structs.replace(
        SIMULATED, speculation=speculation, max_num_seqs=max_num_seqs, max_batched_tokens=max_batched_tokens,
        max_step_s=max_step_s, max_draft=max_draft,
    )  # fmt: skip
    slo = Slo(ttft_s=ttft_s, tpot_s=tpot_s)
    setting = make_setting(
        served_model(model, device), workload, slo,
        count=requests, acceptance=acceptance, arrivals=trace, variation=variation, seed=seed, config=config,
    )  # fmt: skip
    with working(f"serving {len(setting.traces)} requests in virtual time ...", quiet=quiet or as_json):
        arms = _arms(setting, slo, speculation, rate, share)
    if as_json:
        print(json.dumps(_as_json(setting, slo, share, arms, workload)))
    else:
        _print(setting, slo, share, arms, searched=rate is None)


def _check(*, share: float, rate: float | None, **positive: float) -> None:
    for name, value in {**positive, **({} if rate is None else {"rate": rate})}.items():
        if not (value > 0.0 and math.isfinite(value)):
            raise ConfigError(f"--{name.replace('_', '-')} must be > 0, got {value}")
    if not 0.0 < share <= 1.0:
        raise ConfigError(f"--share must be in (0, 1], got {share}")


def _arms(
    setting: Setting, slo: Slo, speculation: str, rate: float | None, share: float
) -> list[tuple[str, Figures | None]]:
    """Columns of the table: without speculation, with it, and with it at the load that the engine holds without."""
    from paceline.llm.simulate.capacity import at_rate, capacity
    from paceline.llm.simulate.virtual import named_policy

    plain, policy = named_policy("off"), named_policy(speculation)
    if rate is not None:
        return [(name, at_rate(setting, rate, slo, make)) for name, make in {"off": plain, speculation: policy}.items()]
    most = capacity(setting, slo, plain, share=share)
    if speculation == "off":
        return [("off", most)]
    found = capacity(setting, slo, policy, share=share, guess=most and _HOPED * most.rate)
    arms = [("off", most), (speculation, found)]
    if most is not None:
        arms.append((f"{speculation}, same load", at_rate(setting, most.rate, slo, policy)))
    return arms


def _as_json(
    setting: Setting, slo: Slo, share: float, arms: list[tuple[str, Figures | None]], workload: str
) -> dict[str, Any]:
    from dataclasses import asdict

    def plain(figures: Figures | None) -> dict[str, float | None] | None:
        return figures and {key: None if math.isnan(value) else value for key, value in asdict(figures).items()}

    return {
        "model": setting.served.model,
        "device": setting.served.device,
        "workload": workload,
        "num_requests": len(setting.traces),
        "num_left_out": setting.num_left_out,
        "ttft_s": slo.ttft_s,
        "tpot_s": slo.tpot_s,
        "share": share,
        "arms": [{"speculation": name, "figures": plain(figures)} for name, figures in arms],
    }


_ROWS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("requests per second", lambda f: f"{f.rate:.3g}"),
    ("within the limits", lambda f: f"{100 * f.attainment:.1f} %"),
    ("first token, median", lambda f: _time(f.ttft_p50_s)),
    ("first token, 99 %", lambda f: _time(f.ttft_p99_s)),
    ("each further token, median", lambda f: _time(f.tpot_p50_s)),
    ("each further token, 99 %", lambda f: _time(f.tpot_p99_s)),
    ("whole answer, mean", lambda f: _time(f.latency_mean_s)),
    ("device busy", lambda f: f"{100 * f.busy:.0f} %"),
)


def _time(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1.0 else f"{1000 * seconds:.3g} ms"


def _print(setting: Setting, slo: Slo, share: float, arms: list[tuple[str, Figures | None]], *, searched: bool) -> None:
    from rich.table import Table

    screen = console()
    assert slo.ttft_s is not None
    assert slo.tpot_s is not None
    limits = f"{100 * share:g} % of requests: first token in {_time(slo.ttft_s)}, then {_time(slo.tpot_s)} each"
    screen.print(f"[bold]{setting.served.model} on {setting.served.device}[/], {limits}")
    table = Table(box=None, padding=(0, 2, 0, 2))
    table.add_column("speculation")
    for name, _ in arms:
        table.add_column(name, justify="right", no_wrap=True)
    for title, show in _ROWS:
        table.add_row(title, *("-" if figures is None else show(figures) for _, figures in arms))
    screen.print(table)
    screen.print(_answer(arms, searched=searched), markup=False)
    if setting.num_left_out:
        screen.print(f"{setting.num_left_out} requests are longer than the model's context and were left out.")


def _answer(arms: list[tuple[str, Figures | None]], *, searched: bool) -> str:
    """The table in a sentence."""
    plain = arms[0][1]
    speculated = arms[1][1] if len(arms) > 1 else None
    if plain is None and speculated is None:
        return "No rate keeps these limits: a request that is alone takes longer."
    if plain is None or speculated is None:
        held = [f"{figures.rate:.3g} requests per second {'with' if name != 'off' else 'without'} speculation"
                for name, figures in arms[:2] if figures is not None]  # fmt: skip
        return f"{held[0]} keep these limits." if searched else ""
    if searched:
        times = speculated.rate / plain.rate
        return (
            f"{speculated.rate:.3g} requests per second with speculation, {plain.rate:.3g} without: "
            f"{times:.2f} times as many."
        )
    return f"A mean answer takes {_time(speculated.latency_mean_s)} with speculation, {_time(plain.latency_mean_s)} without."
