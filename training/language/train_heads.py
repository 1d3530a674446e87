"""Trains the draft heads on the finished target: text is harvested while the heads learn from what is there.

The target reads batches of the corpus and writes code of its own; what it would say is what the heads learn. Made for
one target: when that is trained further, they are trained again, which goes faster from the checkpoint.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.optim import AdamW

from training.language.checkpoint import load_checkpoint, save_checkpoint
from training.language.corpus import ANSWER_WEIGHT, ROW, Corpus, encode_code
from training.language.evaluate import replies, table_cases
from training.language.export import load, write_file
from training.language.harvest import Target, Text
from training.language.heads import (
    DEPTH,
    NUM_POSITIONS,
    Heads,
    Positions,
    accepted_shares,
    find_followers,
    loss_of,
    positions,
    write_heads,
)
from training.language.tokenizer import load_tokenizer
from training.language.train import CLIP_NORM, TrainConfig, rate_at, wait_while

FIRST_BATCH: Final = 10_000_000  # of the corpus: far beyond those that the target was trained on
HARVEST_SHARE: Final = 0.35  # of the time
NUM_CHATS: Final = 40  # batches of the corpus that the lists of followers are made from
FIRST_ROUNDS: Final = 4  # of harvest, before the heads are made
POOL: Final = 500_000  # newest positions that are trained on
WRITTEN: Final = 48  # texts of 256 tokens that the target writes in a round
PROMPT: Final = 64
MAX_REPLY_ROW: Final = 506  # longer chats are cut: a text is read in one piece
WARMTH: Final = 0.7  # temperature of half of them

Log = Callable[[str], None]


class Pool:
    """The newest positions, as many as fit; what is drawn from it is random."""

    def __init__(self, hidden: int, size: int = POOL) -> None:
        self._size, self.num_added = size, 0
        self._kept = Positions(
            np.empty((size, hidden), np.float16), *(np.empty((size, DEPTH), kind) for kind in (np.int32, np.int32)),
            np.empty((size, DEPTH), np.float32),
        )  # fmt: skip

    def add(self, new: Positions) -> None:
        places = np.arange(self.num_added, self.num_added + len(new.tokens)) % self._size
        for kept, part in zip(self._kept, new, strict=True):
            kept[places] = part
        self.num_added += len(new.tokens)

    def draw(self, rng: np.random.Generator, count: int) -> Positions:
        chosen = rng.integers(0, min(self.num_added, self._size), count)
        return Positions(*(kept[chosen] for kept in self._kept))


class Harvest:
    """Rounds of new text, a function of the seed and the round's number, and the time they took."""

    def __init__(self, target: Target, corpus: Corpus, code: NDArray[np.uint16], seed: int) -> None:
        self._target, self._corpus, self._code, self._seed = target, corpus, code, seed
        self.pool = Pool(target.config.hidden_size)
        self.seconds = 0.0

    def gather(self, number: int) -> list[Text]:
        """One round: three batches of the corpus and what the target writes itself."""
        start_s = time.monotonic()
        texts = []
        for step in range(3):
            batch = self._corpus.batch(FIRST_BATCH + 16 * number + step, 4096)
            counts = (batch.weights == 1.0) | (batch.weights == ANSWER_WEIGHT)
            texts.append(self._target.read(batch.ids.astype(np.int32), counts))
        texts.append(written(self._target, self._code, WRITTEN, (self._seed, number)))
        for text in texts:
            self.pool.add(positions(text))
        self.seconds += time.monotonic() - start_s
        return texts


def written(target: Target, code: NDArray[np.uint16], count: int, seed: tuple[int, int]) -> Text:
    """Continuations of code by the target, every second one at a temperature."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, len(code) - PROMPT, count)
    prompts = code[starts[:, None] + np.arange(PROMPT)].astype(np.int32)
    warmth = np.where(np.arange(count) % 2, WARMTH, 0.0).astype(np.float32)
    return target.write(prompts, ROW, warmth, seed=int(rng.integers(2**31)))


def begin(folder: Path, corpus: Corpus, code: NDArray[np.uint16], texts: list[Text]) -> Heads:
    """New heads, whose lists of followers come from code, from replies and from the target's choices."""
    before, after = [code[:-1].astype(np.int64)], [code[1:].astype(np.int64)]
    for number in range(NUM_CHATS):
        batch = corpus.batch(FIRST_BATCH // 2 + number, 4096)
        answered = batch.weights[:, 1:] == ANSWER_WEIGHT
        before += [batch.ids[:, :-1][answered]] * 3  # there is less of it than of code
        after += [batch.ids[:, 1:][answered]] * 3
    before += [text.ids[text.counts] for text in texts]
    after += [text.best[text.counts] for text in texts]
    embed = load(folder).model.embed_tokens.weight.detach()
    return Heads(embed, torch.from_numpy(find_followers(np.concatenate(before), np.concatenate(after), len(embed))))


def train_heads(
    folder: Path, checkpoint: Path, config: TrainConfig, *, resume: bool, threads: int | None, log: Log = print
) -> None:
    """Trains until the minutes or the steps are spent, then writes the file and the model card's section."""
    start_s = time.monotonic()
    tokenizer = load_tokenizer(folder)
    code = encode_code(tokenizer, held_out=False)
    target = Target(folder, threads)
    corpus = Corpus(tokenizer, code, config.seed)
    harvest = Harvest(target, corpus, code, config.seed)
    counters = {"step": 0, "round": 0}
    torch.manual_seed(config.seed)
    texts = [text for number in range(FIRST_ROUNDS) for text in harvest.gather(number)]
    heads = begin(folder, corpus, code, texts)
    optimizer = AdamW(heads.parameters(), lr=config.peak_rate, betas=(0.9, 0.98), weight_decay=0.01)
    if resume and checkpoint.exists():
        counters = load_checkpoint(checkpoint, heads, [optimizer])
    first, mean, rng = counters["step"], 0.0, np.random.default_rng((config.seed, counters["step"]))
    while (rate := rate_at(config, counters["step"] - first, time.monotonic() - start_s)) > 0:
        wait_while(config.pause_file)
        if harvest.seconds < HARVEST_SHARE * (time.monotonic() - start_s):
            counters["round"] += 1
            harvest.gather(FIRST_ROUNDS + counters["round"])
        loss = step(heads, optimizer, harvest.pool.draw(rng, NUM_POSITIONS), rate * config.peak_rate)
        mean = loss if not mean else 0.95 * mean + 0.05 * loss
        counters["step"] += 1
        if counters["step"] % 20 == 0:
            log(f"step {counters['step']} positions {harvest.pool.num_added} loss {mean:.4f} rate {rate:.3f}")
    save_checkpoint(checkpoint, heads, [optimizer], counters)
    write_heads(folder, heads)
    add_to_card(folder, measured(heads, target))
    target.close()
    log(f"done: {counters}")


def step(heads: Heads, optimizer: AdamW, batch: Positions, rate: float) -> float:
    loss = loss_of(heads, batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(heads.parameters(), CLIP_NORM)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return float(loss.detach())


# ── the model card ───────────────────────────────────────────────────────────────────────────────


def measured(heads: Heads, target: Target, num_rows: int = 6, num_texts: int = 32) -> str:
    """The card's section: accepted shares on replies and code that nothing was trained on."""
    tokenizer = load_tokenizer(target.folder)
    shares = {
        "replies about table rows": accepted_shares(heads, held_out_replies(target, tokenizer, num_rows)),
        "Python code, greedy and at temperature 0.7": accepted_shares(
            heads, positions(written(target, encode_code(tokenizer, held_out=True), num_texts, (0, 0)))
        ),
    }
    head = "| text | " + " | ".join(f"{depth} deep" for depth in range(1, DEPTH + 1)) + " |"
    rows = [f"| {name} | " + " | ".join(f"{share:.3f}" for share in values) + " |" for name, values in shares.items()]
    return "\n".join([head, "|---" * (DEPTH + 1) + "|", *rows])


def held_out_replies(target: Target, tokenizer: Tokenizer, num_rows: int) -> Positions:
    cases = [case for _, case in table_cases(num_rows)]
    parts = []
    for _, spans, ids in replies(tokenizer, cases):
        padded = torch.nn.functional.pad(ids[:, :MAX_REPLY_ROW], (0, DEPTH + 1)).numpy().astype(np.int32)
        counts = np.zeros(padded.shape, np.bool_)
        for row, span in zip(counts, spans, strict=True):
            row[span.numpy()[span.numpy() < MAX_REPLY_ROW]] = True
        parts.append(positions(target.read(padded, counts)))
    return Positions(*(np.concatenate(part) for part in zip(*parts, strict=True)))


SECTION: Final = """## Draft heads

`draft_heads.safetensors` holds a small recurrent network that guesses the next tokens from the hidden state and the
token just drawn (`paceline/llm/draft/heads.py`), for these weights alone: with others it is not used. Share of its
drafts of which the first tokens, so many deep, are what the model itself says, on held-out text:

{table}

"""


def add_to_card(folder: Path, table: str) -> None:
    """Puts the section before the card's last one, in place of an older section."""
    card = folder / "README.md"
    text = card.read_text("utf-8") if card.exists() else ""
    text = re.sub(r"## Draft heads\n.*?(?=^## |\Z)", "", text, flags=re.DOTALL | re.MULTILINE)
    before, mark, after = text.partition("## Limits")
    write_file(card, before + SECTION.format(table=table) + mark + after)
