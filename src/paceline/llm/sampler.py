"""Tokens from logits: one exact rule for plain decoding, sampling and the verification of drafts.

The token at output position ``t`` of a request with seed ``s`` is

    argmax over allowed v of  logit_v / temperature + gumbel(s, t, v)

or the plain argmax at temperature 0, always the lowest id on a tie. It depends on the row of
logits, the request and the tokens above the row: never on the batch, the schedule or on what was
drafted. ``adjust`` holds what happens to the logits before, in its order.

``top_k`` keeps the k best values with ties, ``top_p`` the smallest set of best tokens that holds
that share of what ``top_k`` kept (lower ids first on ties), ``min_p`` what has at least that share
of the best token's probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from paceline.llm.adjust import BadWords, Bias, MinTokens, Penalties, apply_mask, check_ids
from paceline.llm.logprobs import kth_largest, token_logprob
from paceline.llm.native.draw import drawing
from paceline.llm.noise import coupled_argmax, noise_key
from paceline.llm.request import SamplingParams, TokenLogprob

MIN_TEMPERATURE = 1e-6  # lower ones act as this one: the leader wins by any margin


class Choice(NamedTuple):
    """The token of one row; ``logprob`` when the request asked for it."""

    token_id: int
    logprob: TokenLogprob | None = None


class FailedRow(NamedTuple):
    """A row without a token.

    ``"not_a_number"``: the model's logits hold a NaN or are all minus infinity.
    ``"nothing_allowed"``: grammar, bad words and bias left no token.
    ``"raised"``: choosing raised; said by the engine, so that one row cannot end the others.
    """

    reason: Literal["not_a_number", "nothing_allowed", "raised"]


@final
class SequenceSampler:
    """How one sample of a request chooses its tokens, and the output that this depends on.

    ``seed`` is the sample's own (``noise.sample_seed``). ``bad_words`` are token sequences
    (``adjust.bad_word_tokens``). Raises InvalidRequest for token ids that the model does not have.

    >>> sampler = SequenceSampler(SamplingParams(temperature=0.0), vocab_size=3)
    >>> sampler.choose(np.array([0.0, 2.0, 1.0], dtype=np.float32))
    Choice(token_id=1, logprob=None)
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        vocab_size: int,
        prompt_ids: Sequence[int] = (),
        eos_ids: Sequence[int] = (),
        bad_words: Sequence[Sequence[int]] = (),
        seed: int = 0,
    ) -> None:
        check_ids(params.stop_token_ids, vocab_size, "stop_token_ids")
        self.params = params
        self._seed = seed
        self._output: list[int] = []
        self._penalties = Penalties(params, prompt_ids) if Penalties.wanted(params) else None
        self._edits = tuple(
            edit
            for edit, wanted in (
                (Bias(params.logit_bias, vocab_size), params.logit_bias),
                (BadWords(bad_words), bad_words),
            )
            if wanted
        )
        stop_ids = (*params.stop_token_ids, *(() if params.ignore_eos else eos_ids))
        self._min_tokens = MinTokens(params.min_tokens, stop_ids) if params.min_tokens and stop_ids else None
        self._untouched = not (self._penalties or self._edits or self._min_tokens)
        self._from_all = params.top_k == 0 and params.top_p == 1.0 and params.min_p == 0.0
        self.plain = self._untouched and params.greedy and params.logprobs is None  # no more than an argmax

    @property
    def num_output(self) -> int:
        return len(self._output)

    def add(self, token_ids: Sequence[int]) -> None:
        """Appends accepted tokens to the output."""
        self._output.extend(token_ids)
        if self._penalties:
            self._penalties.add(token_ids)

    def rollback(self, num_tokens: int) -> None:
        """Takes the last ``num_tokens`` tokens back."""
        kept = len(self._output) - num_tokens
        if self._penalties:
            self._penalties.remove(self._output[kept:])
        del self._output[kept:]

    def choose(
        self,
        logits: NDArray[np.float32],  # [V]
        drafts_above: Sequence[int] = (),
        mask: NDArray[np.bool_] | None = None,  # [V], True: allowed
    ) -> Choice | FailedRow:
        """The token that follows the output and ``drafts_above``. The logits are left as they are."""
        peak = float(logits[logits.argmax()])  # argmax finds a NaN first
        return self._choose(logits, peak, drafts_above, mask)

    def _choose(
        self, logits: NDArray[np.float32], peak: float, drafts_above: Sequence[int], mask: NDArray[np.bool_] | None
    ) -> Choice | FailedRow:
        if math.isnan(peak) or peak == -math.inf:
            return FailedRow("not_a_number")
        raw = logits = _without_infinity(logits, peak)
        position = len(self._output) + len(drafts_above)
        if mask is not None or not self._untouched:
            logits = self._adjusted(raw, drafts_above, mask)
            peak = float(logits.max())
            if peak == -math.inf:
                return FailedRow("nothing_allowed")
            logits = _without_infinity(logits, peak)
        token = int(logits.argmax()) if self.params.greedy else self._draw(logits, position)
        if self.params.logprobs is None:
            return Choice(token)
        return Choice(token, token_logprob(raw, token, self.params.logprobs))

    def _adjusted(
        self, raw: NDArray[np.float32], drafts_above: Sequence[int], mask: NDArray[np.bool_] | None
    ) -> NDArray[np.float32]:
        logits = raw.copy()
        self.add(drafts_above)
        try:
            if self._penalties:
                self._penalties.apply(logits)
            for edit in self._edits:
                edit(logits, self._output)
            if mask is not None:
                apply_mask(logits, mask)
            if self._min_tokens:
                self._min_tokens.apply(logits, len(self._output))
        finally:
            self.rollback(len(drafts_above))
        return logits

    def _draw(self, logits: NDArray[np.float32], position: int) -> int:
        """argmax of score + noise over what top_k, top_p and min_p leave."""
        params = self.params
        temperature = max(params.temperature, MIN_TEMPERATURE)
        key = noise_key(self._seed, position)
        token_ids = None  # all
        if self._from_all:
            token_ids = _nearest(logits, temperature, key)
            if token_ids is not None and len(token_ids) == 1:
                return int(token_ids[0])
        if 0 < params.top_k < len(logits):
            token_ids = np.flatnonzero(logits >= kth_largest(logits, params.top_k))
        scores = (logits if token_ids is None else logits[token_ids]).astype(np.float64)
        scores -= float(logits.max())
        scores /= temperature
        return draw(scores, token_ids, key, params.top_p, params.min_p)


def _nearest(logits: NDArray[np.float32], temperature: float, key: int) -> NDArray[np.intp] | None:  # [V]
    """The tokens among which the draw is, mostly one; None if it is not known."""
    native = drawing()
    if native is None or not logits.flags.c_contiguous:
        return None
    found = native.nearest(logits, int(logits.argmax()), temperature, key)
    return None if found is None else np.array(found, np.intp)


class Row(NamedTuple):
    """One row of a batch: whose it is, the drafts between its output and the row, what its grammar allows."""

    sampler: SequenceSampler
    drafts_above: Sequence[int] = ()
    mask: NDArray[np.bool_] | None = None  # [V], True: allowed


def choose_rows(logits: NDArray[np.float32], rows: Sequence[Row]) -> list[Choice | FailedRow]:  # [L, V]
    """The token of each row, any number of rows per sequence; the logits are left as they are.

    A row's answer is the same in every batch.
    """
    best = logits.argmax(axis=1)
    peaks = logits[np.arange(len(rows)), best].tolist()
    return [
        _chosen(row, logits[index], token, peak)
        for index, (row, token, peak) in enumerate(zip(rows, best.tolist(), peaks, strict=True))
    ]


def choose_row(logits: NDArray[np.float32], row: Row) -> Choice | FailedRow:  # [V]
    """``choose_rows`` for one row, without what a batch costs."""
    best = int(logits.argmax())
    return _chosen(row, logits, best, float(logits[best]))


def _chosen(row: Row, logits: NDArray[np.float32], best: int, peak: float) -> Choice | FailedRow:  # [V]
    if row.mask is None and row.sampler.plain and math.isfinite(peak):
        return Choice(best)
    return row.sampler._choose(logits, peak, row.drafts_above, row.mask)


def draw(
    scores: NDArray[np.float64],  # [N], the best one is 0
    token_ids: NDArray[np.intp] | None,  # [N], ascending; None: 0..N-1
    key: int,
    top_p: float,
    min_p: float,
) -> int:
    """The token with the largest score + noise among those in the nucleus, without sorting.

    If the best of all is not in the nucleus, nothing ranked below it is, so the search goes on
    among those ranked above it.
    """
    weights = np.exp(scores) if top_p < 1.0 else scores
    wanted = top_p * float(weights.sum())
    scores = _cut(scores, min_p)
    while True:
        winner = coupled_argmax(scores, token_ids, key)
        if top_p < 1.0:
            above = scores > scores[winner]
            above[:winner] |= scores[:winner] == scores[winner]
            if float(weights[above].sum()) >= wanted:
                scores, weights = scores[above], weights[above]
                token_ids = np.flatnonzero(above) if token_ids is None else token_ids[above]
                continue
        return winner if token_ids is None else int(token_ids[winner])


def _cut(scores: NDArray[np.float64], min_p: float) -> NDArray[np.float64]:
    """Bans tokens below ``min_p`` times the best one's probability; the best score is 0."""
    return np.where(scores >= math.log(min_p), scores, -np.inf) if min_p > 0.0 else scores


def _without_infinity(logits: NDArray[np.float32], peak: float) -> NDArray[np.float32]:
    """Tokens at +inf share all the probability: the same choice, in numbers that can be computed with."""
    return logits if peak < math.inf else np.where(logits == np.inf, np.float32(0), np.float32(-np.inf))
