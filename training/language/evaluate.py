"""Measures a model folder on held-out text and writes its model card.

For example `python -m training.language.evaluate src/paceline/llm/embedded/target --rows 100`.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from training.language import tables
from training.language.corpus import encode_code, field_order
from training.language.export import load, write_file
from training.language.model import Qwen3
from training.language.talk import EXCHANGES
from training.language.tokenizer import END, load_tokenizer

HELD_OUT_SEED: Final = 77  # below `corpus.TRAIN_SEEDS`
WINDOW: Final = 512
BATCH: Final = 16


class Case(NamedTuple):
    task: str
    prompt: str
    reply: str


@dataclass
class Scores:
    """What was measured. Accuracy is the share of replies that greedy decoding gets right to the last token."""

    accuracy: dict[str, float] = field(default_factory=dict)  # by "kind/question"
    task_accuracy: dict[str, float] = field(default_factory=dict)
    num_cases: int = 0
    code_loss: float = 0.0  # nats per token
    code_bits_per_byte: float = 0.0
    agreement: dict[str, float] = field(default_factory=dict)  # with another model's greedy choice


def table_cases(num_rows: int) -> Iterator[tuple[str, Case]]:
    """Every question about `num_rows` fresh rows each, in a random paraphrase and with fields in random order."""
    rng = random.Random(HELD_OUT_SEED)
    for kind in tables.KINDS:
        rows = tables.make_table(kind, num_rows * tables.ROWS_PER_ENTITY, HELD_OUT_SEED)[:num_rows]
        for question in tables.questions(kind):
            for row in rows:
                order = field_order(rng, row, set(question.fields))
                text = tables.chat(tables.prompt(rng.choice(question.texts), row, order))
                yield f"{kind}/{question.name}", Case(question.task, text, tables.answer(row, question))


def talk_cases() -> Iterator[tuple[str, Case]]:
    for asks, reply in EXCHANGES:
        for ask in asks:
            yield "talk", Case("talk", tables.chat(ask, system=None), reply)


def replies(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[tuple[list[int], list[Tensor], Tensor]]:
    """Batches of (numbers of the cases, the reply's positions of each, padded ids)."""
    heads = tokenizer.encode_batch([case.prompt for case in cases], add_special_tokens=False)
    tails = tokenizer.encode_batch([case.reply + END for case in cases], add_special_tokens=False)
    order = sorted(range(len(cases)), key=lambda number: len(heads[number].ids))
    for start in range(0, len(order), BATCH):
        numbers = order[start : start + BATCH]
        rows = [torch.tensor(heads[n].ids + tails[n].ids) for n in numbers]
        spans = [torch.arange(len(heads[n].ids), len(heads[n].ids) + len(tails[n].ids)) for n in numbers]
        yield numbers, spans, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


@torch.inference_mode()
def choices(model: Qwen3, ids: Tensor) -> Tensor:
    """The token that greedy decoding would put at each position after the first.  # [B, T] -> [B, T - 1]"""
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16):
        return model.logits(model.hidden(ids.to(device), torch.bfloat16))[:, :-1].argmax(-1).cpu()


def measure_cases(model: Qwen3, tokenizer: Tokenizer, num_rows: int, other: Qwen3 | None, scores: Scores) -> None:
    named = [*table_cases(num_rows), *talk_cases()]
    cases = [case for _, case in named]
    right: dict[str, list[bool]] = defaultdict(list)
    tasks: dict[str, list[bool]] = defaultdict(list)
    equal: list[Tensor] = []
    for numbers, spans, ids in replies(tokenizer, cases):
        chosen = choices(model, ids)
        others = chosen if other is None else choices(other, ids)
        for number, span, row, ours, theirs in zip(numbers, spans, ids, chosen, others, strict=True):
            hit = bool((ours[span - 1] == row[span]).all())
            right[named[number][0]].append(hit)
            tasks[cases[number].task].append(hit)
            equal.append(ours[span - 1] == theirs[span - 1])
    scores.num_cases = len(cases)
    scores.accuracy = {name: sum(hits) / len(hits) for name, hits in right.items()}
    scores.task_accuracy = {name: sum(hits) / len(hits) for name, hits in sorted(tasks.items())}
    scores.agreement["replies"] = float(torch.cat(equal).float().mean())


@torch.inference_mode()
def measure_code(model: Qwen3, tokenizer: Tokenizer, num_tokens: int, other: Qwen3 | None, scores: Scores) -> None:
    tokens = torch.from_numpy(encode_code(tokenizer, held_out=True)[:num_tokens].astype("int64"))
    windows = tokens[: len(tokens) // WINDOW * WINDOW].view(-1, WINDOW)
    total, equal = 0.0, []
    for ids in torch.split(windows, 8):
        logits = model.logits(model.hidden(ids))[:, :-1].float()
        total += float(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"))
        if other is not None:
            equal.append(logits.argmax(-1) == choices(other, ids))
    num_predicted = windows.shape[0] * (WINDOW - 1)
    num_bytes = len(tokenizer.decode(windows.flatten().tolist()).encode())
    scores.code_loss = total / num_predicted
    scores.code_bits_per_byte = total / 0.6931471805599453 / num_bytes
    if equal:
        scores.agreement["code"] = float(torch.cat(equal).float().mean())


def measure(folder: Path, num_rows: int, num_code_tokens: int) -> Scores:
    """Scores of the folder's model; a draft is also compared with the target beside it."""
    model, tokenizer, scores = load(folder).eval(), load_tokenizer(folder), Scores()
    beside = folder.parent / "target"
    other = load(beside).eval() if folder.name == "draft" and beside.exists() else None
    measure_cases(model, tokenizer, num_rows, other, scores)
    measure_code(model, tokenizer, num_code_tokens, other, scores)
    if other is None:
        scores.agreement.clear()
    return scores


def table(rows: dict[str, float], first: str) -> str:
    lines = [f"| {first} | accuracy |", "|---|---|", *(f"| {name} | {share:.3f} |" for name, share in rows.items())]
    return "\n".join(lines)


CARD: Final = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# Paceline's built-in {name} model

{num_parameters:.2f} million parameters, Qwen3 layout, byte-level BPE of {vocab} entries, ChatML, trained from scratch with
`python -m training.language`. It is made to show a serving engine at work without a download: it answers questions about one
JSON row, continues Python code, and returns a greeting. It knows nothing else.

## Training data

Generated tables with questions and computed answers (`training/language/tables.py`: {kinds}), a little
generated small talk, and the source of Python's standard library. {num_tokens}No text of people, no other model's output{teacher}.

## Measured on held-out text

{num_cases} replies about rows that were never trained on. Right means that greedy decoding gives the whole reply.

{tasks}

Python files kept out of the training: {loss:.3f} nats per token, {bits:.3f} bits per byte.
{agreement}
<details><summary>Every question</summary>

{questions}

</details>

## Limits

The vocabulary of the tables is small and closed: texts with other words are judged by chance. A kind of
question whose accuracy above is near that of guessing (a half for yes or no) is not answered, it is guessed. Prompts longer than 2048 tokens were never seen. Not for any decision
about people.
"""


def card(folder: Path, scores: Scores, num_tokens: int) -> str:
    model = load(folder)
    teacher = ", except that the draft was also taught by the target" if folder.name == "draft" else ""
    shares = " and ".join(f"{share:.3f} of the tokens of {name}" for name, share in scores.agreement.items())
    return CARD.format(
        name=folder.name,
        num_parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        vocab=model.config.vocab_size,
        kinds=", ".join(tables.KINDS),
        num_tokens=f"{num_tokens / 1e6:.1f} million tokens in all. " if num_tokens else "",
        teacher=teacher,
        num_cases=scores.num_cases,
        tasks=table(scores.task_accuracy, "task"),
        loss=scores.code_loss,
        bits=scores.code_bits_per_byte,
        agreement=f"\nIts greedy choice equals the target's on {shares}.\n" if shares else "",
        questions=table(scores.accuracy, "question"),
    )


def write_model_card(folder: Path, num_tokens: int = 0, num_rows: int = 40) -> Scores:
    scores = measure(folder, num_rows, num_code_tokens=40_000)
    write_file(folder / "README.md", card(folder, scores, num_tokens))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.language.evaluate", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=40, help="held-out rows for each question")
    parser.add_argument("--code-tokens", type=int, default=40_000)
    parser.add_argument("--card", action="store_true", help="write README.md as well")
    parser.add_argument("--trained-tokens", type=int, default=0, help="for the card")
    given = parser.parse_args()
    scores = measure(given.folder, given.rows, given.code_tokens)
    print(table(scores.accuracy, "question"), table(scores.task_accuracy, "task"), sep="\n\n")
    print(f"\ncode: {scores.code_loss:.4f} nats per token, {scores.code_bits_per_byte:.4f} bits per byte")
    print(f"agreement with the target: {scores.agreement}")
    if given.card:
        write_file(given.folder / "README.md", card(given.folder, scores, given.trained_tokens))


if __name__ == "__main__":
    main()
