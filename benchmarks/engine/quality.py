"""What a faster step may cost: perplexity of quantised weights, logits against transformers."""

from __future__ import annotations

import math
import random
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from benchmarks.common.arms import Arm, ArmError
from benchmarks.common.cells import Cells
from benchmarks.engine.arms import Bench
from benchmarks.engine.models import prompts
from benchmarks.engine.protocol import RUNNER, Protocol
from paceline.llm import embedded_model
from training.language import tables
from training.language.corpus import code_files

WEIGHTS = ("bf16", "int8", "int4")
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
HELD_OUT_SEED = 77  # below training's first seed
TABLES_PER_KIND = 4
ROWS_PER_TABLE = 40


def measure_perplexity(bench: Bench, cells: Cells, protocol: Protocol) -> None:
    """Perplexity of the packaged target per weight format, on text it was not trained on."""
    folder = Path(embedded_model())
    missing = [weights for weights in WEIGHTS if cells.get(f"perplexity/{weights}") is None]
    if not missing:
        return
    windows = held_out_windows(folder, protocol.num_windows, protocol.window_tokens)
    with bench.start(RUNNER) as arm:
        for weights in missing:
            try:
                scored = arm.ask("score", path=str(folder), weights=weights, windows=windows)
            except ArmError as error:
                bench.note(f"perplexity {weights}", str(error))
                continue
            cells.put(f"perplexity/{weights}", math.exp(scored["nats"] / scored["num_tokens"]))


def held_out_windows(folder: Path, num_windows: int, window_tokens: int) -> list[list[int]]:
    """As many windows of answered table questions as of library source, both kept out of training."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    half = num_windows // 2
    sources = ("".join(_chats()), "\n".join(code_files(held_out=True)))
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in sources]
    return list(chain.from_iterable(_windows(part, half, window_tokens) for part in ids))


def _windows(ids: list[int], num_windows: int, length: int) -> list[list[int]]:
    starts = range(0, len(ids) - length, max(1, (len(ids) - length) // num_windows))
    return [ids[start : start + length] for start in list(starts)[:num_windows]]


def _chats() -> list[str]:
    rng = random.Random(HELD_OUT_SEED)
    texts = []
    for kind in tables.KINDS:
        for table in range(TABLES_PER_KIND):
            for row in tables.make_table(kind, ROWS_PER_TABLE, seed=HELD_OUT_SEED + table):
                question = rng.choice(tables.questions(kind))
                asked = tables.chat(tables.prompt(question.texts[0], row))
                texts.append(f"{asked}{tables.answer(row, question)}<|im_end|>\n")
    rng.shuffle(texts)
    return texts


def measure_logits(bench: Bench, cells: Cells) -> None:
    """Largest difference to transformers' logits, float32, a tiny random model of each family."""
    missing = [family for family in FAMILIES if cells.get(f"logits/{family}") is None]
    if not missing or "transformers" not in bench.pythons:
        return
    with bench.start(RUNNER) as ours, bench.start("transformers") as theirs:
        for family in missing:
            try:
                cells.put(f"logits/{family}", _difference(family, ours, theirs, bench.work_dir / "tiny" / family))
            except ArmError as error:
                bench.note(f"logits {family}", str(error))


def _difference(family: str, ours: Arm, theirs: Arm, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    same = [[token % 512 for token in ids] for ids in prompts(4, 48, seed=3)]
    theirs.ask("tiny", family=family, path=str(folder))
    arrays = []
    for arm in (ours, theirs):
        out = folder / f"{arm.name}.npy"
        arm.ask("logits", path=str(folder), prompts=same, out=str(out))
        arrays.append(np.load(out))
    first, second = arrays  # [B, T, V]
    return {
        "max_difference": float(np.abs(first - second).max()),
        "greedy_equal": bool((first.argmax(-1) == second.argmax(-1)).all()),
    }
