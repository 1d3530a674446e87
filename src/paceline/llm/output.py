"""What becomes of a drawn token: text, log-probabilities, and the decision that a sample has ended."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from collections.abc import Sequence as Seq
from typing import Literal, final

import msgspec
import numpy as np
from numpy.typing import NDArray

from paceline.llm.adjust import bad_word_tokens
from paceline.llm.detokenize import TextStream, TokenTexts
from paceline.llm.logprobs import token_logprob
from paceline.llm.noise import sample_seed
from paceline.llm.plan import Outcome
from paceline.llm.request import Delta, FinishReason, Grammar, Request, TokenLogprob
from paceline.llm.sampler import Choice, FailedRow, Row, SequenceSampler
from paceline.llm.sequence import Sequence
from paceline.llm.structured import GrammarCompiler, Matcher
from paceline.llm.tokenizer import Tokenizer

Failure = Literal["not_a_number", "nothing_allowed", "raised"]

_CONTEXT_TOKENS = 16  # of the prompt; some tokenizers spell a token by those before it
_FAILURES = {
    "not_a_number": "the model's output was not a number",
    "nothing_allowed": "grammar, bad words and bias together allow no token",
    "raised": "this request's output could not be made",
}


@final
class SequenceOutput:
    """The output side of one sequence: its sampler, grammar and text so far."""

    def __init__(
        self, request: Request, index: int, max_tokens: int, sampler: SequenceSampler, text: TextStream,
        matcher: Matcher | None, forget_grammar: Callable[[], None], eos_ids: frozenset[int],
    ) -> None:  # fmt: skip
        self._request = request
        self._index = index
        self._max_tokens = max_tokens
        self._sampler = sampler
        self._text = text
        self._matcher = matcher
        self._forget_grammar = forget_grammar
        self._eos_ids = frozenset() if request.params.ignore_eos else eos_ids
        self._stop_ids = frozenset(request.params.stop_token_ids)
        self.is_plain = sampler.plain and matcher is None and not text.may_stop
        self._prompt: list[TokenLogprob | None] = [None]
        self._tokens: list[int] = []  # from here on: what this step brought
        self._logprobs: list[TokenLogprob] = []
        self._new_text = ""
        self._reason: FinishReason | None = None
        self._stop_reason: str | int | None = None
        self._failure: Failure | None = None

    def row(self) -> Row:
        """What the sampler needs to know to draw this sequence's next token."""
        return Row(self._sampler, (), None if self._matcher is None else self._matcher.mask())

    def note_prompt(self, start: int, logits: NDArray[np.float32]) -> None:
        """Log-probabilities of the prompt tokens that follow positions ``start`` and on; logits [rows, V]."""
        prompt, count = self._request.prompt, self._request.params.prompt_logprobs
        assert count is not None
        del self._prompt[start + 1 :]  # a preempted prompt is scored again
        for position, row in enumerate(logits, start + 1):
            if position < len(prompt):
                self._prompt.append(token_logprob(row, prompt[position], count))

    def take(self, choice: Choice | FailedRow) -> bool:
        """Takes the next token in; True while the sample goes on."""
        if isinstance(choice, FailedRow):
            self._failure = choice.reason
            return False
        self._tokens.append(choice.token_id)
        if choice.logprob is not None:
            self._logprobs.append(choice.logprob)
        self._reason, self._stop_reason, text = self._advance(choice.token_id)
        self._new_text += text
        return self._reason is None

    def take_run(self, token_ids: Seq[int]) -> int:
        """``take`` for several tokens at once, where ``is_plain``; how many: the others stand behind the end."""
        assert self.is_plain
        run = token_ids[: self._max_tokens - self._sampler.num_output]
        last = next(
            (place for place, token in enumerate(run) if token in self._stop_ids or token in self._eos_ids), None
        )
        if last is not None:
            run = run[: last + 1]
        before_last = run[:-1]
        self._sampler.add(before_last)
        self._new_text += self._text.push(before_last)
        self._tokens.extend(before_last)
        self.take(Choice(run[-1]))
        return len(run)

    def flush(self, sequence: Sequence, accepted: Seq[int] = ()) -> tuple[Outcome, Delta]:
        """What ``take`` has gathered since the last call: for the scheduler and for the client."""
        if self._failure is not None:
            return self._flush_failure(self._failure)
        tokens, reason = tuple(self._tokens), self._reason
        first = self._sampler.num_output == len(tokens)
        delta = Delta(
            request_id=self._request.request_id,
            index=self._index,
            text=self._new_text,
            token_ids=tokens,
            logprobs=tuple(self._logprobs),
            prompt_logprobs=self._prompt_logprobs() if first else (),
            finish_reason=reason,
            stop_reason=self._stop_reason,
            num_cached_tokens=sequence.num_cached if first else 0,
            queued_s=sequence.queued_s if first else 0.0,
            num_drafted=sequence.num_drafted if reason else 0,
            num_accepted=sequence.num_accepted if reason else 0,
        )
        self._tokens.clear()
        self._logprobs.clear()
        self._new_text = ""
        return Outcome(tokens, reason, tuple(accepted)), delta

    def _flush_failure(self, cause: Failure) -> tuple[Outcome, Delta]:
        if self._matcher is not None and self._matcher.failed:
            self._forget_grammar()
        failure = self.fail(cause)
        delta = msgspec.structs.replace(
            failure, text=self._new_text, token_ids=tuple(self._tokens), logprobs=tuple(self._logprobs)
        )
        return Outcome((), "error"), delta

    def guess(self, logits: NDArray[np.float32], drafts_above: Seq[int]) -> int | None:  # [V]
        """The token that other logits would give after the output and ``drafts_above``; None if none is allowed."""
        mask = None if self._matcher is None else self._matcher.mask(drafts_above)
        choice = self._sampler.choose(logits, drafts_above, mask)
        return choice.token_id if isinstance(choice, Choice) else None

    def fail(self, cause: Failure) -> Delta:
        """Ends the sample because no token, or no text, could be made for it."""
        return Delta(
            request_id=self._request.request_id, index=self._index, finish_reason="error", error=_FAILURES[cause]
        )

    def end(self, reason: FinishReason, error: str | None = None) -> Delta:
        """Ends the sample from outside: the text that was held back, and why."""
        return Delta(
            request_id=self._request.request_id,
            index=self._index,
            text=self._text.finish(),
            finish_reason=reason,
            error=error,
        )

    def _advance(self, token: int) -> tuple[FinishReason | None, str | int | None, str]:
        """Finish reason, stop reason and the text that may be shown now."""
        self._sampler.add((token,))
        if token in self._stop_ids:
            return "stop", token, self._text.finish()
        if token in self._eos_ids:
            return "stop", None, self._text.finish()
        text = self._text.push((token,))
        if self._text.stopped is not None:
            return "stop", self._text.stopped, text
        if self._matcher is not None:
            self._matcher.advance(token)
            if self._matcher.is_finished:  # only an end-of-text token could follow
                return "stop", None, text + self._text.finish()
        if self._sampler.num_output == self._max_tokens:
            return "length", None, text + self._text.finish()
        return None, None, text

    def _prompt_logprobs(self) -> tuple[TokenLogprob | None, ...]:
        wanted = self._request.params.prompt_logprobs is not None and self._index == 0
        return tuple(self._prompt) if wanted else ()


@final
class OutputFactory:
    """Makes the output side of a request's samples; what can be wrong with it is found here, before queueing."""

    def __init__(self, tokenizer: Tokenizer, grammars: GrammarCompiler, vocab_size: int, eos_ids: Seq[int]) -> None:
        self._tokenizer = tokenizer
        self._texts = TokenTexts(tokenizer)
        self._grammars = grammars
        self._vocab_size = vocab_size
        self._eos_ids = tuple(eos_ids)

    def warm_up(self) -> None:
        """Loads the grammar engine; safe in any thread."""
        self._grammars.compile(Grammar("json_object"))

    def warm(self, request: Request) -> Matcher | None:
        """The request's grammar, compiled for ``prepare``; safe in any thread."""
        grammar = request.params.grammar
        return None if grammar is None else self._grammars.compile(grammar)

    def prepare(self, request: Request, matcher: Matcher | None = None) -> Callable[[int, int], SequenceOutput]:
        """A maker of outputs from (sample index, most output tokens); InvalidRequest names a wrong option."""
        params = request.params
        matcher = matcher or self.warm(request)
        bad_words = bad_word_tokens(params.bad_words, self._tokenizer.encode)
        seed = secrets.randbits(63) if params.seed is None else params.seed
        samplers = [
            SequenceSampler(
                params,
                vocab_size=self._vocab_size,
                prompt_ids=request.prompt,
                eos_ids=self._eos_ids,
                bad_words=bad_words,
                seed=sample_seed(seed, index),
            )
            for index in range(params.n)
        ]

        def forget_grammar() -> None:
            if params.grammar is not None:
                self._grammars.forget(params.grammar)

        def make(index: int, max_tokens: int) -> SequenceOutput:
            return SequenceOutput(
                request, index, max_tokens, samplers[index],
                TextStream(
                    self._texts, stop=params.stop, include_stop=params.include_stop, after=request.prompt[-_CONTEXT_TOKENS:]
                ),
                None if matcher is None else matcher.copy(), forget_grammar, frozenset(self._eos_ids),
            )  # fmt: skip

        return make
