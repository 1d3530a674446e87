"""What steps took on real devices, as others measured and published it. Times in tables are milliseconds.

A table is priced as it was published; what nobody published (a drafter, the reading of keys and
values) is scaled from the nearest published figure, and marked *estimated* where it stands.
"""

from __future__ import annotations

import difflib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from paceline.errors import ConfigError
from paceline.llm.load import StepLoad
from paceline.llm.rows import BLOCK_SIZE

_MS = 1e-3
_USED_MEMORY = 0.9  # of the device: what engines give to weights and the key-value pool


class StepTimes(Protocol):
    """Time of one forward pass of the target, drafting and the engine's own work left out."""

    def ms(self, load: StepLoad, *, verifies: bool) -> float:
        """Milliseconds; ``verifies``: there are drafts among the rows."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Formula:
    """A plane fitted to measured steps.

    >>> Formula(5.0, per_row=0.02).ms(StepLoad(50, 0, 50), verifies=False)
    6.0
    """

    fixed: float
    per_context: float = 0.0
    per_row: float = 0.0
    per_seq: float = 0.0
    verifying: float = 0.0

    def ms(self, load: StepLoad, *, verifies: bool) -> float:
        rows, context, seqs = load.features
        plane = self.fixed + self.per_context * context + self.per_row * rows + self.per_seq * seqs
        # Fits with a negative slope fall below the time of reading the weights when used far out.
        return max(self.fixed, plane) + (self.verifying if verifies else 0.0)


@final
@dataclass(frozen=True, slots=True)
class Staircase:
    """Measured times by number of rows, straight lines between and beyond; reading of the context on top.

    >>> stairs = Staircase((1, 64, 128), (9.0, 10.0, 12.0), per_context=0.001)
    >>> stairs.ms(StepLoad(96, 1000, 96), verifies=False)
    12.0
    """

    rows: Sequence[int]
    times: Sequence[float]
    per_context: float = 0.0

    def ms(self, load: StepLoad, *, verifies: bool) -> float:
        return _line(self.rows, self.times, load.num_rows) + self.per_context * load.num_context


@final
@dataclass(frozen=True, slots=True)
class Grid:
    """Measured times by number of sequences (lines) and of drafts per sequence (columns); ``per_row`` beyond them."""

    seqs: Sequence[int]
    drafts: Sequence[int]
    times: Sequence[Sequence[float]]
    per_row: float

    def ms(self, load: StepLoad, *, verifies: bool) -> float:
        seqs = max(1, load.num_seqs)
        drafts = load.num_rows / seqs - 1.0
        beyond = max(0.0, drafts - self.drafts[-1]) * seqs * self.per_row
        column = [_line(self.drafts, line, min(drafts, self.drafts[-1])) for line in self.times]
        return _line(self.seqs, column, seqs) + beyond


def _line(points: Sequence[int], values: Sequence[float], at: float) -> float:
    """Straight lines through the points; the first value before them, the last slope beyond."""
    if at <= points[0]:
        return values[0]
    i = min(bisect_right(points, at), len(points) - 1)
    share = (at - points[i - 1]) / (points[i] - points[i - 1])
    return values[i - 1] + share * (values[i] - values[i - 1])


@final
@dataclass(frozen=True, slots=True)
class Drafter:
    """Time of drafting ``depth`` tokens for some sequences: a plane, and a share of the step that verifies them."""

    fixed: float = 0.0
    per_pass: float = 0.0
    per_seq: float = 0.0
    per_context: float = 0.0
    per_row: float = 0.0
    share: float = 0.0

    def ms(self, steps: StepTimes, load: StepLoad, depth: int) -> float:
        """Milliseconds for the sequences of ``load``, one row each."""
        own = self.fixed + self.per_pass * depth + self.per_seq * load.num_seqs + self.per_context * load.num_context
        own += self.per_row * load.num_seqs * depth
        if not self.share:
            return own
        verify = StepLoad(load.num_rows + load.num_seqs * depth, load.num_context, load.num_seqs)
        return own + self.share * steps.ms(verify, verifies=True)


@final
@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model on one device: what its steps take, and what its memory holds."""

    model: str
    device: str
    steps: StepTimes
    drafters: Mapping[str, Drafter]  # by proposer
    overhead_ms: float  # of the engine, every step
    num_blocks: int
    max_model_len: int

    def step_s(self, load: StepLoad, *, verifies: bool = False) -> float:
        """Seconds of a step without drafting."""
        return (self.steps.ms(load, verifies=verifies) + self.overhead_ms) * _MS

    def draft_s(self, proposer: str, load: StepLoad, depth: int) -> float:
        """Seconds in which ``proposer`` drafts ``depth`` tokens for the sequences of ``load``, one row each."""
        return self.drafters[proposer].ms(self.steps, load, depth) * _MS


@dataclass(frozen=True, slots=True)
class _Size:
    """Weights in GB (bf16), keys and values in KiB a token, and the trained context."""

    weights_gb: float
    kv_kib: int
    context: int


_SIZES = {
    "llama-2-7b": _Size(13.5, 512, 4096),
    "llama-2-70b": _Size(138.0, 320, 4096),
    "llama-3-8b": _Size(16.1, 128, 8192),
    "llama-3.1-8b": _Size(16.1, 128, 131072),
    "llama-3-70b": _Size(141.0, 320, 8192),
    "llama-3.1-70b": _Size(141.0, 320, 131072),
}
_MEMORY_GB = {
    "A40": 48, "A100": 80, "H100": 80, "H100-graphs": 80, "4xA100": 320, "8xA100": 640, "4xH100": 320, "8xH100": 640,
}  # fmt: skip

# ── drafters ────────────────────────────────────────────────────────────────────────────────────

# Prompt lookup takes 0.59 % of verification: simulator of SpecDecode-Bench (arXiv 2601.11580).
_LOOKUP = Drafter(share=0.0059)
# EAGLE beside Llama-3.1-8B on an H100, whatever the depth: the same simulator. Its 2.38e-6 a context token, one part in
# a hundred of the largest steps, is left out: the floors that simulated speed-ups are held against were made flat, too.
_FLAT_EAGLE = Drafter(fixed=2.135)
# EAGLE beside Llama-3-8B on an H100: LiuXiaoxuanPKU/vllm, branch batch-dsd.
_EAGLE = Drafter(fixed=0.447, per_pass=0.452, per_seq=5.5e-3, per_context=2.9e-6, per_row=4.4e-5)


def _eagle_like(one_row_ms: float) -> Drafter:
    """Estimated: EAGLE's share of its target's step on one row, as for Llama-3-8B on an H100 (6.939 ms)."""
    ratio = one_row_ms / 6.939
    return Drafter(*(ratio * part for part in (0.447, 0.452, 5.5e-3, 2.9e-6, 4.4e-5)))


# ── steps ───────────────────────────────────────────────────────────────────────────────────────

# vLLM pull request 32374: whole steps of Llama-3.1-8B with EAGLE on an H100 under captured graphs, by batch and
# number of drafts. 64 sequences with 7 drafts leave the captured graphs. Batch 1 took what batch 4 takes.
_GRAPHS_DRAFTS = (0, 1, 3, 4, 5, 7)
_GRAPHS = {
    1: (6.87, 7.97, 9.41, 9.91, 10.8, 12.29),
    4: (6.87, 7.97, 9.41, 9.91, 10.8, 12.29),
    16: (7.3, 8.39, 9.95, 10.8, 11.59, 13.11),
    32: (7.64, 8.97, 10.78, 11.79, 12.81, 14.86),
    64: (8.53, 10.44, 13.16, 15.7, 17.54, 120.0),
}


def _graphs() -> Grid:
    """The published totals less the published time of drafting, which proposers are charged for."""

    def verify(seqs: int, drafts: int, total: float) -> float:
        return total - (_EAGLE.ms(Formula(0.0), StepLoad(seqs, 0, seqs), drafts) if drafts else 0.0)

    times = [[verify(n, k, ms) for k, ms in zip(_GRAPHS_DRAFTS, line, strict=True)] for n, line in _GRAPHS.items()]
    return Grid(tuple(_GRAPHS), _GRAPHS_DRAFTS, times, per_row=2.101e-2)


# Linear operators by rows, summed from the profiles of Vidur (microsoft/vidur); attention is ``per_context``: for
# Llama-2-7B estimated from 512 KiB a token and the device's bandwidth, for the others scaled from the H100.
_VIDUR_ROWS = (1, 64, 128, 256, 512, 1024)
_VIDUR = {
    ("llama-2-7b", "A100"): ((9.28, 9.70, 12.25, 17.82, 33.4, 68.0), 3.0e-4),
    ("llama-2-7b", "H100"): ((5.6, 5.86, 6.37, 9.16, 12.0, 21.05), 1.95e-4),
    ("llama-2-7b", "A40"): ((23.9, 30.05, 30.3, 44.6, 71.1, 136.9), 8.8e-4),
    ("llama-3-8b", "A100"): ((9.7, 11.24, 13.2, 19.5, 34.7), 7.5e-5),
    ("llama-3-70b", "4xA100"): ((24.9, 26.9, 33.2, 51.1, 89.3), 9.6e-5),
    ("llama-3-70b", "4xH100"): ((14.3, 15.3, 15.9, 19.2, 30.0), 6.244e-5),
}

# splitwise-sim (Patel et al., ISCA 2024): Llama-2-70B, 512 tokens a prompt; decode steps of 1, 8, 32 and 64
# sequences, then one prompt. The context is in the figures, so none is added.
_SPLITWISE_ROWS = (1, 8, 32, 64, 512)
_SPLITWISE = {
    "4xA100": (44.5, 45.9, 52.4, 72.8, 127.0),
    "8xA100": (45.2, 46.5, 53.2, 71.3, 94.0),
    "4xH100": (29.4, 31.4, 36.9, 52.0, 61.0),
    "8xH100": (30.5, 32.4, 38.9, 50.0, 55.5),
}

_SAME_SHAPE = {("llama-3.1-8b", "A100"): "llama-3-8b", ("llama-3.1-70b", "4xA100"): "llama-3-70b"}


def _served(model: str, device: str, steps: StepTimes, eagle: Drafter, overhead_ms: float = 0.0) -> ServedModel:
    size = _SIZES[model]
    pool = _USED_MEMORY * _MEMORY_GB[device] * 1e9 - size.weights_gb * 1e9
    num_blocks = int(pool / (size.kv_kib * 1024 * BLOCK_SIZE))
    return ServedModel(model, device, steps, {"heads": eagle, "lookup": _LOOKUP}, overhead_ms, num_blocks, size.context)


def _all() -> dict[tuple[str, str], ServedModel]:
    staircases = {
        key: Staircase(_VIDUR_ROWS[: len(times)], times, per_context) for key, (times, per_context) in _VIDUR.items()
    }
    staircases |= {(model, device): staircases[same, device] for (model, device), same in _SAME_SHAPE.items()}
    staircases |= {("llama-2-70b", device): Staircase(_SPLITWISE_ROWS, times) for device, times in _SPLITWISE.items()}
    served = [
        # SpecDecode-Bench's simulator; its overhead holds for every step, plain ones too.
        _served("llama-3.1-8b", "H100", Formula(5.886, 3.926e-5, 2.101e-2), _FLAT_EAGLE, overhead_ms=1.207),
        _served("llama-3.1-8b", "H100-graphs", _graphs(), _EAGLE),
        # LiuXiaoxuanPKU/vllm, branch batch-dsd.
        _served("llama-3-8b", "H100", Formula(6.939, 4.859e-5, 1.844e-2, -4.331e-2), _EAGLE),
        _served("llama-3.1-70b", "4xH100", Formula(18.345, 6.244e-5, 6.402e-2, -3.974e-2, -0.112), _eagle_like(18.345)),
        *(_served(model, device, steps, _eagle_like(steps.times[0])) for (model, device), steps in staircases.items()),
    ]
    return {(each.model, each.device): each for each in served}


_PUBLISHED = _all()


def names() -> list[tuple[str, str]]:
    """Every model and device that step times are known for, sorted."""
    return sorted(_PUBLISHED)


def served_model(model: str, device: str) -> ServedModel:
    """The published figures of ``model`` on ``device``; ConfigError lists what there is.

    >>> round(served_model("llama-3.1-8b", "H100").step_s(StepLoad(1, 0, 1)) * 1000, 3)
    7.114
    """
    found = _PUBLISHED.get((model, device))
    if found is not None:
        return found
    devices = [known for name, known in names() if name == model]
    if devices:
        raise ConfigError(f"no step times of {model} on {device!r}; there are some for: {', '.join(devices)}")
    models = sorted({name for name, _ in names()})
    near = difflib.get_close_matches(model, models, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"no step times of the model {model!r}; {hint}known: {', '.join(models)}")
