"""The server: command to first token, memory, and what HTTP leaves of the engine's throughput."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.common.arms import Arm
from benchmarks.common.cells import Cells
from benchmarks.common.load import LoadReport, closed_loop
from benchmarks.common.stream import Answer, Connection
from benchmarks.engine.arms import Bench
from benchmarks.engine.models import make, prompts
from benchmarks.engine.protocol import KV_MEMORY, PROMPT_TOKENS, Protocol
from benchmarks.engine.server import HOST, Server, command, environment, serving
from paceline.llm import embedded_model

_NUM_RUNS = 5
SERVED = {"A": 1, "embedded": 4}  # model -> its answers are so many times the protocol's length


def measure_starts(bench: Bench, cells: Cells, protocol: Protocol) -> None:
    """Cold start of ``serve --demo``, and how long ``--help`` and ``import paceline`` take."""
    for turn in range(protocol.num_starts):
        if cells.get(f"starts/{turn}") is not None or not bench.wants(turn):
            continue
        with serving(["--demo"], bench.work_dir / "serve-demo.log") as server:
            answer = asyncio.run(server.first_answer())
        cells.put(
            f"starts/{turn}",
            {
                "cold_start_s": answer.stamps_s[0] - server.started_s,
                "help_s": _seconds(command("--help")),
                "import_s": _seconds([sys.executable, "-c", "import paceline"]),
                "load_average": os.getloadavg()[0],
            },
        )


def _seconds(arguments: list[str]) -> float:
    """Median of a few runs: the first one after a server's end still shares the cores with it."""
    return statistics.median(_run_s(arguments) for _ in range(_NUM_RUNS))


def _run_s(arguments: list[str]) -> float:
    started_s = time.perf_counter()
    subprocess.run(arguments, env=environment(), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started_s


def measure_served(model: str, bench: Bench, cells: Cells, protocol: Protocol) -> None:
    """Rounds of the same prompts through the server and through the engine without one."""
    missing = [turn for turn in range(protocol.num_serving_rounds) if cells.get(f"served/{model}/{turn}") is None]
    if not missing:
        return
    path = embedded_model() if model == "embedded" else str(make(model, bench.work_dir))
    num_tokens = protocol.num_output_tokens * SERVED[model]
    arguments = [path, "--kv-memory", str(KV_MEMORY)]
    with (
        serving(arguments, bench.work_dir / f"serve-{model}.log") as server,
        bench.loaded(["paceline"], path=path, weights="bf16", kv_memory=KV_MEMORY) as arms,
    ):
        asyncio.run(server.first_answer())
        engine = arms["paceline"]
        for turn in [-1, *missing]:  # the first one warms both up
            if turn > 0 and not bench.wants(turn):
                break
            same = prompts(protocol.num_requests, PROMPT_TOKENS, seed=500 + turn)
            found = _round(server, engine, same, num_tokens, protocol.num_clients, served_first=turn % 2 == 0)
            if turn >= 0:
                cells.put(f"served/{model}/{turn}", found)
        if cells.get(f"memory/{model}") is None:
            cells.put(f"memory/{model}", _memory(server, engine))


def _round(
    server: Server, engine: Arm, same: list[list[int]], num_tokens: int, num_clients: int, *, served_first: bool
) -> dict[str, float]:
    found: dict[str, float] = {"load_average": os.getloadavg()[0]}
    for kind in ("served", "offline") if served_first else ("offline", "served"):
        if kind == "served":
            report = asyncio.run(_served(server.port, same, num_tokens, num_clients))
            if report.num_failed:
                failed = next(outcome.answer for outcome in report.outcomes if not outcome.answer.complete)
                raise RuntimeError(f"{report.num_failed} of {len(same)} requests failed: {failed.error}")
            found["served_tokens_per_s"] = report.tokens_per_s
            found["ttft_s"] = statistics.median(outcome.ttft_s for outcome in report.outcomes)
            found["tpot_s"] = statistics.median(outcome.tpot_s for outcome in report.outcomes)
        else:
            found["offline_tokens_per_s"] = _offline(engine, same, num_tokens, num_clients)
    return found


def _offline(engine: Arm, same: list[list[int]], num_tokens: int, num_clients: int) -> float:
    """As many prompts at a time as there are clients, so that both sides run the same batches."""
    waves = [same[first : first + num_clients] for first in range(0, len(same), num_clients)]
    answers = [engine.ask("offline", prompts=wave, num_tokens=num_tokens) for wave in waves]
    seconds: float = sum(answer["seconds"] for answer in answers)
    return sum(int(answer["num_tokens"]) for answer in answers) / seconds


async def _served(port: int, same: list[list[int]], num_tokens: int, num_clients: int) -> LoadReport:
    connections = [Connection(HOST, port) for _ in range(num_clients)]

    async def send(client: int, index: int) -> Answer:
        body = {
            "prompt": same[index],
            "max_tokens": num_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return await connections[client].post("/v1/completions", body)

    try:
        return await closed_loop(num_clients, len(same), send)
    finally:
        for connection in connections:
            await connection.close()


def _memory(server: Server, engine: Arm) -> dict[str, Any]:
    """Resident bytes of the three processes, and what the engine says it holds."""
    server_bytes, worker_bytes = server.resident()
    offline = engine.ask("memory")
    return {
        "server_bytes": server_bytes,
        "engine_bytes": worker_bytes,
        "offline_engine_bytes": offline["resident_bytes"],
        "weights_bytes": offline["weights_bytes"],
        "kv_bytes": offline["kv_bytes"],
    }
