"""A language model that costs nothing: a prefix cache, a time model and answers that depend on the asked row alone.

The answer is a hash of the question and of the row's fields without their order, so a plan that loses, swaps or
changes a row is found by its answers, and one that only reorders fields is not.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BLOCK_TOKENS = 16

_TOKEN = re.compile(r" ?\w{1,4}|\s|[^\w\s]")


def tokenize(text: str) -> list[str]:
    """Tokens of about four characters, the same for the same text.

    >>> tokenize("Hello, old world")
    ['Hell', 'o', ',', ' old', ' worl', 'd']
    """
    return _TOKEN.findall(text)


def block_hashes(tokens: Sequence[str]) -> list[int]:
    """A hash for each full block that chains those before it: equal hashes mean equal beginnings."""
    hashes: list[int] = []
    parent = 0
    for start in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        parent = hash((parent, *tokens[start : start + BLOCK_TOKENS]))
        hashes.append(parent)
    return hashes


class BlockCache:
    """The least recently used blocks go first."""

    def __init__(self, num_tokens: int) -> None:
        self._num_blocks = num_tokens // BLOCK_TOKENS
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def find(self, hashes: Sequence[int]) -> int:
        """Blocks of the longest known beginning."""
        found = 0
        while found < len(hashes) and hashes[found] in self._blocks:
            found += 1
        self.publish(hashes[:found])
        return found

    def publish(self, hashes: Sequence[int]) -> None:
        """Makes blocks known, or young again; the last ones are the first to go."""
        for block in reversed(hashes):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._num_blocks:
            self._blocks.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeModel:
    """Seconds of a step: for itself, for a token of a prompt, for a sequence that decodes."""

    step_s: float = 0.008
    prefill_s: float = 0.0002
    decode_s: float = 0.0002
    max_batched_tokens: int = 2048
    max_num_seqs: int = 128


@dataclass(slots=True, eq=False)
class Job:
    """One request on the device."""

    hashes: list[int]
    num_prompt: int
    num_output: int
    num_cached: int = 0
    num_computed: int = 0
    num_emitted: int = 0

    @property
    def decodes(self) -> bool:
        return self.num_computed == self.num_prompt


class Device:
    """Continuous batching with chunked prefill over a prefix cache, in virtual time.

    >>> device = Device(TimeModel(), cache_tokens=1000)
    >>> hashes = block_hashes(["a"] * 40)
    >>> for _ in range(2):
    ...     device.submit(Job(hashes, 40, 1))
    ...     [job], seconds = device.step()
    ...     print(job.num_cached)
    0
    32
    """

    def __init__(self, times: TimeModel, cache_tokens: int) -> None:
        self._times = times
        self._cache = BlockCache(cache_tokens)
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []

    @property
    def idle(self) -> bool:
        return not (self._waiting or self._running)

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def step(self) -> tuple[list[Job], float]:
        """The jobs that have ended, and the seconds it took."""
        decoding = [job for job in self._running if job.decodes]
        num_prefilled = self._prefill(self._times.max_batched_tokens - len(decoding))
        for job in decoding:
            job.num_emitted += 1
        ended = [job for job in self._running if job.num_emitted >= job.num_output]
        self._running = [job for job in self._running if job.num_emitted < job.num_output]
        times = self._times
        return ended, times.step_s + times.prefill_s * num_prefilled + times.decode_s * len(decoding)

    def _prefill(self, budget: int) -> int:
        """Computes prompts; what is computed can be found from the next step on, as in vLLM."""
        jobs = [job for job in self._running if not job.decodes]
        left, computed = budget, []
        while left > 0 and (jobs or self._admits()):
            job = jobs.pop(0) if jobs else self._admit()
            num_rows = min(left, job.num_prompt - job.num_computed)
            left -= num_rows
            job.num_computed += num_rows
            job.num_emitted += job.decodes
            computed.append(job)
        for job in computed:
            self._cache.publish(job.hashes[: job.num_computed // BLOCK_TOKENS])
        return budget - left

    def _admits(self) -> bool:
        return bool(self._waiting) and len(self._running) < self._times.max_num_seqs

    def _admit(self) -> Job:
        job = self._waiting.popleft()
        # At least one token is computed: its logits are the answer's first.
        job.num_cached = job.num_computed = min(self._cache.find(job.hashes) * BLOCK_TOKENS, job.num_prompt - 1)
        self._running.append(job)
        return job


def answer(system: str, user: str, choices: Sequence[str] = (), schema: Any = None) -> str:
    """What the model says.

    >>> a = answer("", 'Good?\\n{"x": 1, "y": 2}', ("yes", "no"))
    >>> a == answer("", 'Good?\\n{"y": 2, "x": 1}', ("yes", "no"))
    True
    """
    digest = _digest(system, user)
    if choices:
        return choices[digest % len(choices)]
    if schema is not None:
        return json.dumps(_fitting(schema, digest))
    return f"answer {digest:016x}"


def _digest(system: str, user: str) -> int:
    row, text = _split(user)
    parts = json.dumps([system, text.strip(), sorted(row.items())], sort_keys=True)
    return int.from_bytes(hashlib.blake2b(parts.encode(), digest_size=8).digest(), "big")


def _split(user: str) -> tuple[dict[str, Any], str]:
    """The JSON object in a prompt, before or behind the question, and the rest."""
    start = user.find("{")
    while start >= 0:
        try:
            row, end = json.JSONDecoder().raw_decode(user, start)
        except ValueError:
            start = user.find("{", start + 1)
            continue
        return row, user[:start] + user[end:]
    return {}, user


def _fitting(schema: Any, digest: int) -> Any:
    """A value that fits a plain JSON schema."""
    if not isinstance(schema, dict):
        return None
    if "enum" in schema:
        return schema["enum"][digest % len(schema["enum"])]
    match schema.get("type"):
        case "object":
            return {name: _fitting(inner, digest + i) for i, (name, inner) in enumerate(schema["properties"].items())}
        case "array":
            return [_fitting(schema.get("items"), digest + i) for i in range(digest % 3)]
        case "integer":
            return schema.get("minimum", 0) + digest % (schema.get("maximum", 9) - schema.get("minimum", 0) + 1)
        case "number":
            return digest % 100 / 10
        case "boolean":
            return digest % 2 == 0
        case "null":
            return None
    return f"text {digest % 10_000}"
