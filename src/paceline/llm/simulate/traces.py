"""What a proposer would have got right at every position of real answers; read from files, or made from published curves.

``values["heads"][t]`` is how many tokens one verification yields if drafting starts when ``t`` output
tokens are there: accepted drafts and one more. With the values of every proposer at every position,
any choice of lengths and proposers can be replayed without a model.
"""

from __future__ import annotations

import gzip
import random
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import msgspec

from paceline.errors import ConfigError

MAX_VALUE = 21  # of one position: twenty drafts and one more, as the recorded traces have it
MIXED = "mixed"


@final
@dataclass(frozen=True, slots=True)
class AcceptanceTrace:
    """One request: its lengths in tokens and, by proposer, a byte for each position of its output."""

    workload: str
    num_prompt: int
    num_output: int
    values: Mapping[str, bytes]  # each [num_output]

    def resized(self, num_prompt: int, num_output: int) -> AcceptanceTrace:
        """A request of other lengths whose drafts fare as in this one.

        >>> AcceptanceTrace("chat", 3, 2, {"heads": bytes([2, 1])}).resized(9, 5).values["heads"].hex()
        '0201020102'
        """
        repeats = -(-num_output // self.num_output)
        values = {name: (value * repeats)[:num_output] for name, value in self.values.items()}
        return AcceptanceTrace(self.workload, num_prompt, num_output, values)

    def after(self, count: int) -> AcceptanceTrace:
        """The request as it is when ``count`` of its output tokens are there: they belong to the prompt then."""
        values = {name: value[count:] for name, value in self.values.items()}
        return AcceptanceTrace(self.workload, self.num_prompt + count, self.num_output - count, values)

    def clipped(self, max_output: int) -> AcceptanceTrace:
        """The request as it were with ``max_output`` as its most tokens."""
        return self if self.num_output <= max_output else self.resized(self.num_prompt, max_output)


# ── recorded ────────────────────────────────────────────────────────────────────────────────────


class _Line(msgspec.Struct, frozen=True):
    workload: str
    prompt_tokens: int
    draft_head: list[int]
    ngram: list[int]


def read_acceptance(path: Path) -> list[AcceptanceTrace]:
    """Traces of a file (``.gz`` too), one JSON object a line; ConfigError names a line that is none.

    Fields ``workload, prompt_tokens, draft_head, ngram``; the two lists come from two runs of the same request, so the
    shorter one ends both.
    """
    try:
        data = path.read_bytes()
        lines = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"cannot read the acceptance traces {path}: {error}") from error
    decoder = msgspec.json.Decoder(_Line)
    traces = []
    for number, line in enumerate(lines, start=1):
        try:
            trace = _trace(decoder.decode(line))
        except (msgspec.MsgspecError, ValueError) as error:
            raise ConfigError(f"{path} line {number} is no acceptance trace: {error}") from error
        if trace is not None:
            traces.append(trace)
    if not traces:
        raise ConfigError(f"{path} holds no acceptance trace")
    return traces


def _trace(line: _Line) -> AcceptanceTrace | None:
    """The trace of a line; None for an answer without text."""
    num_output = min(len(line.draft_head), len(line.ngram))
    if num_output == 0:
        return None
    if line.prompt_tokens < 1 or min(*line.draft_head, *line.ngram) < 1:
        raise ValueError("prompt_tokens and all values must be at least 1")
    values = {
        "heads": bytes(min(value, MAX_VALUE) for value in line.draft_head[:num_output]),
        "lookup": bytes(min(value, MAX_VALUE) for value in line.ngram[:num_output]),
    }
    return AcceptanceTrace(line.workload, line.prompt_tokens, num_output, values)


# ── made ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Curve:
    """How far a proposer is right: the share of drafts whose first, second, … token is accepted.

    ``survival`` is what one sees when drafting starts behind a token that was guessed wrong; beyond it every further
    token is ``tail`` times as likely. Requests differ by ``variation``, standard deviation over mean.
    """

    survival: Sequence[float]
    tail: float
    variation: float

    def at(self, depth: int) -> float:
        """Survival of token ``depth`` (1 is the first).

        >>> Curve((0.5, 0.3), tail=0.5, variation=0.0).at(4)
        0.075
        """
        known = len(self.survival)
        return self.survival[depth - 1] if depth <= known else self.survival[-1] * self.tail ** (depth - known)


@dataclass(frozen=True, slots=True)
class Workload:
    """Mean lengths in tokens, and a curve for each proposer."""

    num_prompt: int
    num_output: int
    curves: Mapping[str, Curve]


# Llama-3.1-8B-Instruct with EAGLE and prompt lookup, from the traces of SpecDecode-Bench (arXiv 2601.11580): shares
# over the starts that drafting up to 7 (EAGLE) and up to 20 (lookup) tokens visits.
WORKLOADS: Mapping[str, Workload] = {
    "gsm8k": Workload(94, 166, {
        "heads": Curve((0.66, 0.43, 0.27, 0.18, 0.11, 0.07, 0.05), 0.6, 0.2),
        "lookup": Curve((0.07, 0.04, 0.024, 0.015, 0.011, 0.007), 0.7, 0.5),
    }),
    "cnn": Workload(838, 323, {
        "heads": Curve((0.63, 0.39, 0.25, 0.17, 0.11, 0.08, 0.06), 0.7, 0.2),
        "lookup": Curve((0.10, 0.07, 0.05, 0.04, 0.03, 0.024), 0.82, 0.6),
    }),
    "instructcoder": Workload(171, 262, {
        "heads": Curve((0.68, 0.49, 0.36, 0.27, 0.21, 0.17, 0.13), 0.8, 0.25),
        "lookup": Curve((0.135, 0.112, 0.097, 0.086, 0.078, 0.072), 0.95, 0.6),
    }),
    "sharegpt": Workload(355, 728, {
        "heads": Curve((0.60, 0.35, 0.22, 0.15, 0.11, 0.08, 0.06), 0.75, 0.3),
        "lookup": Curve((0.08, 0.053, 0.038, 0.03, 0.024, 0.02), 0.88, 0.6),
    }),
}  # fmt: skip

# The same model on other prompts, by generation of the head: vLLM pull request 32374.
EAGLE_1 = Curve((0.68, 0.39, 0.20, 0.10, 0.06, 0.03, 0.02), 0.6, 0.2)
EAGLE_3 = Curve((0.76, 0.54, 0.39, 0.28, 0.21, 0.15, 0.12), 0.75, 0.2)

_LENGTH_SHAPE = 4.0  # of the gamma law of lengths: standard deviation half the mean
_LIKELIEST = 0.98  # no token is certain
_NO_DRAFTS = Curve((0.0,), 0.0, 0.0)


def generate(workload: str, count: int, *, seed: int = 0) -> list[AcceptanceTrace]:
    """Requests with the published curves of ``workload`` (``"mixed"``: of all, one after the other).

    >>> [trace.workload for trace in generate("mixed", 5)]
    ['gsm8k', 'cnn', 'instructcoder', 'sharegpt', 'gsm8k']
    """
    names = list(WORKLOADS) if workload == MIXED else [workload]
    if names[0] not in WORKLOADS:
        raise _unknown(workload, WORKLOADS)
    rng = random.Random(seed)
    return [_generated(names[index % len(names)], rng) for index in range(count)]


def forced(acceptance: float, count: int, *, num_prompt: int = 256, num_output: int = 256, seed: int = 0) -> list[AcceptanceTrace]:  # fmt: skip
    """Requests of one size whose every draft token is accepted with the same chance; lookup finds nothing."""
    curves = {"heads": Curve((acceptance,), acceptance, 0.0), "lookup": _NO_DRAFTS}
    rng = random.Random(seed)
    return [
        AcceptanceTrace("forced", num_prompt, num_output, {n: _values(c, num_output, rng) for n, c in curves.items()})
        for _ in range(count)
    ]


def _generated(name: str, rng: random.Random) -> AcceptanceTrace:
    workload = WORKLOADS[name]
    num_prompt, num_output = (
        max(2, round(rng.gammavariate(_LENGTH_SHAPE, mean / _LENGTH_SHAPE)))
        for mean in (workload.num_prompt, workload.num_output)
    )
    values = {proposer: _values(curve, num_output, rng) for proposer, curve in workload.curves.items()}
    return AcceptanceTrace(name, num_prompt, num_output, values)


def _values(curve: Curve, num_output: int, rng: random.Random) -> bytes:
    """Runs of tokens that are guessed right, each ended by one that is not.

    Drafting starts behind such a token, so the law of the runs is the curve itself.
    """
    scale = rng.gammavariate(curve.variation**-2, curve.variation**2) if curve.variation else 1.0
    losses = [1.0 - min(_LIKELIEST, scale * curve.at(depth)) for depth in range(1, MAX_VALUE)]  # ascending
    values = bytearray()
    while len(values) < num_output:
        values.extend(range(bisect_right(losses, rng.random()) + 1, 0, -1))
    return bytes(values[:num_output])


# ── chosen ──────────────────────────────────────────────────────────────────────────────────────


def pick(traces: Sequence[AcceptanceTrace], workload: str, count: int, *, seed: int = 0) -> list[AcceptanceTrace]:
    """``count`` requests of ``workload`` in random order; ``"mixed"`` takes every workload in turn.

    A workload with fewer requests gives them again. ConfigError lists the known workloads.
    """
    by_workload: dict[str, list[AcceptanceTrace]] = {}
    for trace in traces:
        by_workload.setdefault(trace.workload, []).append(trace)
    if workload != MIXED and workload not in by_workload:
        raise _unknown(workload, by_workload)
    rng = random.Random(seed)
    queues = [_shuffled(by_workload[name], rng) for name in (sorted(by_workload) if workload == MIXED else [workload])]
    return [next(queues[index % len(queues)]) for index in range(count)]


def under_way(traces: Sequence[AcceptanceTrace], count: int) -> list[AcceptanceTrace]:
    """What a steady load of ``traces`` is at work on at a random moment: long requests more often, each at any point."""
    rng = random.Random(count)
    chosen = rng.choices(traces, weights=[trace.num_output for trace in traces], k=count)
    return [trace.after(rng.randrange(trace.num_output)) for trace in chosen]


def _shuffled(traces: list[AcceptanceTrace], rng: random.Random) -> Iterator[AcceptanceTrace]:
    while True:
        order = list(traces)
        rng.shuffle(order)
        yield from order


def _unknown(workload: str, known: Mapping[str, object]) -> ConfigError:
    return ConfigError(f"unknown workload {workload!r}; known: {', '.join([*sorted(known), MIXED])}")
