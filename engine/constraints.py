"""Holds a request's completion to a grammar, token by token, and its reasoning to a budget.

Grammars are Lark text for llguidance. Its matcher says which tokens may come next, and the sampler
(engine.sampling) gives all others a log probability of minus infinity, for all rows at once, with plain MLX
operations and so on every device. That happens inside the model step, where an exception would cost the whole
batch: none is raised here. A matcher that fails during a generation (its limits are in limits()) is dropped,
and the request goes on without a grammar.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, takewhile

import mlx.core as mx
import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from tokenizers import Tokenizer

from engine.known_tokens import known_tokens, leaves_space_out
from engine.types import ThinkingLimit

log = logging.getLogger("engine.constraints")

Allowed = np.ndarray[tuple[int], np.dtype[np.bool_]]  # one boolean per token

FEW = 2  # rows of which all often expect something: always asking pays (measured: of 4 it does not)
KEPT = 64  # compiled grammars; an agent sends the same tools turn after turn
FORCE = 1e6  # added to a logit: above everything but minus infinity, at any temperature
ALLOWANCE_S = 0.5  # seconds of computing for a whole text, beside PER_TOKEN_S: more would delay all others
PER_TOKEN_S = 0.005
LOOKING_S = 0.05  # the same for looking ahead: where it takes more, it rests for some tokens
LOOKING_PER_TOKEN_S = 0.001
LONGEST_REASON = 400  # characters of a compiler's message


class BadGrammar(Exception):
    """Why a grammar cannot be compiled; str() is fit for the user who sent it."""


def limits() -> LLParserLimits:
    """The limits of a matcher: far above llguidance's defaults for compiling, which nobody waits for; the
    defaults for each token.
    """
    return LLParserLimits(
        initial_lexer_fuel=20_000_000,
        max_grammar_size=2_000_000,
        verbose_errors=False,
    )


class Grammars:
    """Compiles grammars for one model, in a thread of its own, and keeps the last few.

    ends: the end tokens.
    usual_end: the one that ended the last text.
    failures: matchers that failed during a generation.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_token_ids: tuple[int, ...]) -> None:
        self._source = tokenizer
        self._drawable = vocab_size  # ids that the model has, below this
        self._vocab_size = max(vocab_size, tokenizer.get_vocab_size(with_added_tokens=True))
        self.ends = list(eos_token_ids)
        self.usual_end = max(eos_token_ids, default=-1)
        self._tokenizer: LLTokenizer | None = None
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._thread: ThreadPoolExecutor | None = None
        self.wake: Callable[[], None] = lambda: None  # called when a grammar is ready
        self.failures = 0

    def compile(self, text: str) -> Future[LLMatcher]:
        """A matcher at its beginning, or BadGrammar. The first one takes about a second with a large
        vocabulary.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grammar")
        compiling = self._thread.submit(self._compile, text)
        compiling.add_done_callback(lambda _: self.wake())
        return compiling

    def known_tokens(self, matcher: LLMatcher, most: int, spaced: bool) -> list[int]:
        """As engine.known_tokens has it, without tokens that the model does not have."""
        known = known_tokens(matcher, self._for_tokens(), most, self.usual_end, spaced)
        return [*takewhile(lambda token: token < self._drawable, known)]

    def bytes_of(self, token: int) -> bytes:
        """The text of one token."""
        return self._for_tokens().decode_bytes([token])

    def note_failure(self, id: str, reason: str) -> None:
        """The grammar of request `id` failed during a generation."""
        self.failures += 1
        log.warning("request %s continues without its grammar: %s", id, reason)

    def _compile(self, text: str) -> LLMatcher:
        matcher = self._compiled.pop(text, None)
        if matcher is None:
            matcher = LLMatcher(self._for_tokens(), text, log_level=0, limits=limits())
            if matcher.is_error():
                raise BadGrammar(first_words(matcher.get_error()))
            allowed_tokens(matcher, self._vocab_size)  # the first mask builds most of the lexer
            if matcher.is_error():
                raise BadGrammar(first_words(matcher.get_error()))
        self._compiled[text] = matcher
        while len(self._compiled) > KEPT:
            self._compiled.popitem(last=False)
        return matcher.deep_copy()

    def _for_tokens(self) -> LLTokenizer:
        if self._tokenizer is None:
            if not self.ends:
                raise BadGrammar("the model has no end token, so that no grammar could ever end")
            try:
                self._tokenizer = LLTokenizer(
                    self._source.to_str(), n_vocab=self._vocab_size, eos_token=self.ends
                )
            except ValueError as error:
                raise BadGrammar(f"grammars cannot be used with this model's tokenizer: {error}") from error
        return self._tokenizer


def first_words(reason: str) -> str:
    """The beginning of a compiler's message, which may quote all of a long grammar."""
    return reason.strip()[:LONGEST_REASON]


def allowed_tokens(matcher: LLMatcher, vocab_size: int) -> Allowed:
    """Which tokens are allowed, one boolean per token; of a matcher that has stopped, the end tokens."""
    words = np.zeros((vocab_size + 31) // 32, dtype=np.int32)
    matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
    return np.unpackbits(words.view(np.uint8), bitorder="little")[:vocab_size].view(np.bool_)


class Constraint:
    """One request's place in its grammar.

    failed: the grammar was dropped.
    latest: the tokens that were allowed when the token was picked that was picked last; None: all of them.
    shown: the same of the token that the generator reports next, since it picks one ahead.
    """

    def __init__(
        self, id: str, matcher: LLMatcher, grammars: Grammars, allowance_s: float = ALLOWANCE_S
    ) -> None:
        self._id = id
        self._allowance_s = allowance_s
        self._matcher = matcher
        self._grammars = grammars
        self.latest: Allowed | None = None
        self._looking_s = LOOKING_S
        self._known = True  # of a call the beginning is known; later: the token picked last was
        self._consumed = False  # whether the matcher has the token that was picked last
        self._expected = deque[int]()  # of the last draft, what has not been picked yet
        self._spaced = True  # whether the model writes the spaces that it may leave out
        self.failed = False
        self.shown: Allowed | None = None

    def allow(self, drawn: int | None, vocab_size: int) -> Allowed | None:
        """Which tokens may come next: one boolean per token; None for any. To be called once for each token
        picked.

        drawn: the token picked last; None at the beginning.
        """
        self.shown, self.latest = self.latest, None if self.failed else self._next(drawn, vocab_size)
        return self.latest

    def worth_asking(self, rows: int) -> bool:
        """As in engine.drafting.Drafter."""
        return rows <= FEW or self._known

    def draft(self, drawn: int | None, most: int) -> list[int]:
        """The tokens that must come next, then a guess at what follows them; none where anything may come. To
        be called at most once for each token picked, before allow().

        drawn: as in allow().
        most: so many at most.
        """
        if drawn is not None and drawn in self._grammars.ends:
            self._grammars.usual_end = drawn
            return []
        if self.failed:
            return []
        began = time.thread_time()
        self._consume(drawn)
        if len(self._expected) < most and self._looking_s > 0:
            self._expected = deque(self._grammars.known_tokens(self._matcher, most, self._spaced))
        self._looking_s -= time.thread_time() - began
        return [*islice(self._expected, most)]

    def _consume(self, drawn: int | None) -> None:
        if drawn is not None and not self._consumed:
            self._matcher.consume_token(drawn)
            expected = self._expected.popleft() if self._expected else drawn
            if expected != drawn:
                self._expected.clear()
                self._spaced &= not leaves_space_out(*map(self._grammars.bytes_of, (expected, drawn)))
        self._consumed = True

    def _next(self, drawn: int | None, vocab_size: int) -> Allowed | None:
        # CPU time of this thread, because the machine may be busy with other things
        began = time.thread_time()
        self._consume(drawn)
        self._consumed = False
        allowed = allowed_tokens(self._matcher, vocab_size)
        self._looking_s += LOOKING_PER_TOKEN_S
        self._allowance_s += PER_TOKEN_S - (time.thread_time() - began)
        self._known = int(np.count_nonzero(allowed)) == 1
        reason = self._trouble(allowed)
        if reason:
            self.failed = True
            self._grammars.note_failure(self._id, reason)
            return None
        return allowed

    def _trouble(self, allowed: Allowed) -> str:
        """Why the grammar has to be dropped; "" where nothing is wrong."""
        if self._matcher.is_error():
            return first_words(self._matcher.get_error())
        if not allowed.any():
            return "the grammar allows no token here"
        return "" if self._allowance_s > 0 else "the grammar is too ambiguous to be followed in time"


class ThinkingBudget:
    """The logits processor of a request that may think for so many tokens: then the end of its thinking is
    written for it.

    An end that the model has begun by itself is completed. Costs nothing until the budget is used up.
    """

    def __init__(self, limit: ThinkingLimit) -> None:
        self._budget = limit.budget
        self._close = limit.close
        self._produced = 0
        self._forced: list[int] | None = None

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        produced, self._produced = self._produced, self._produced + 1
        if produced < self._budget:
            return logits
        if self._forced is None:
            count = min(produced, tokens.shape[0])
            completion = [int(token) for token in np.array(tokens[tokens.shape[0] - count :])]
            self._forced = to_close(completion, self._close)
        if not self._forced:
            return logits
        return logits.astype(mx.float32).at[:, self._forced.pop(0)].add(FORCE)


def to_close(completion: list[int], close: tuple[int, ...]) -> list[int]:
    """The tokens that still have to be written; none where the completion holds `close` already."""
    size = len(close)
    if any(tuple(completion[at : at + size]) == close for at in range(len(completion) - size + 1)):
        return []
    begun = next((n for n in range(size - 1, 0, -1) if tuple(completion[-n:]) == close[:n]), 0)
    return list(close[begun:])
