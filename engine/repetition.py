"""Texts that repeat themselves word for word, found while they are written.

A text has period p where each unit equals the one p before. The rule: at a checkpoint, which comes every
`every` units, the last max(`least`, `times` x p) units have a period p of at most `longest`. Equality is
exact, so that a table with a counter, or code with one other name, is no repetition.

How it is found: the window of the last `longest` units is searched for right before the checkpoint. Let d be
the distance of the nearest earlier place where it stands. If p is the shortest period of the last
`longest` + p units, d is p: it stands at p; and at a nearer place d < p the last `longest` + d units would
have the periods d and p, hence (Fine and Wilf, since they are at least d + p long) the shorter period
gcd(d, p). So one search finds the only candidate, and one comparison settles it. Both look at a bounded
number of units, so that a unit costs the same however long the text is.

A random text of n units from which each is drawn with at most the probability q of guessing it is stopped
wrongly with a probability below n x longest x q ** (least - longest): for base64, q = 1/64, no such text
will ever be seen. Real code, tables and data are measured in docs/benchmarks/repetition.md.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace

from engine.types import SamplingParams

SOONER = 4  # what should be short is judged by a fourth of a rule's lengths
SHIFT = 0x10000  # token ids as characters, beyond those for which UTF-32 has no place


@dataclass(frozen=True, slots=True)
class RepetitionRule:
    """What counts as a repetition, in units (tokens or characters).

    every: units between two checkpoints.
    longest: the longest period.
    least: length of the repeated text, at least twice the longest period.
    times: how often the period has to occur.
    """

    longest: int
    least: int
    times: int
    every: int

    def __post_init__(self) -> None:
        if self.least < 2 * self.longest:
            raise ValueError(f"least must be at least twice longest, got {self.least} and {self.longest}")

    def for_length(self, expected: int | None) -> RepetitionRule:
        """The rule for a text of about so many units, None where nothing is expected. What repeats itself
        for as long as that is a loop, and so is what does it for a quarter of the rule's lengths, whichever
        is more.
        """
        if expected is None:
            return self
        least = min(self.least, max(self.least // SOONER, expected))
        return replace(self, least=least, longest=min(self.longest, least // 2))

    @property
    def reach(self) -> int:
        """Units before a checkpoint that may have to be looked at."""
        return max(self.least, self.times * self.longest)


TOKENS = RepetitionRule(longest=512, least=1024, times=4, every=64)
CHARACTERS = RepetitionRule(longest=2048, least=4096, times=4, every=256)


def period(tail: str, rule: RepetitionRule) -> int:
    """The period with which the end of `tail` repeats itself by the rule; 0 where it does not.

    tail: the last rule.reach units of a text, or all of a shorter one.
    """
    if len(tail) < rule.least:
        return 0
    back = tail[::-1]
    distance = back.find(back[: rule.longest], 1, 2 * rule.longest)
    length = max(rule.least, rule.times * distance)
    if distance < 1 or len(back) < length or not back.startswith(back[distance:length]):
        return 0
    return distance


class TokenRepetition:
    """The tokens of one sequence."""

    def __init__(self, rule: RepetitionRule = TOKENS) -> None:
        self._rule = rule
        self._tokens = array("I")

    def push(self, token: int) -> bool:
        """Adds a token; returns whether the text repeats itself with it."""
        tokens = self._tokens
        tokens.append(token + SHIFT)
        if len(tokens) % self._rule.every or len(tokens) < self._rule.least:
            return False
        return period(tokens[-self._rule.reach :].tobytes().decode("utf-32"), self._rule) > 0


def repetition_of(sampling: SamplingParams) -> TokenRepetition | None:
    """A watch for repetitions; None where the text may repeat whatever it likes."""
    if not sampling.stop_repetition or sampling.ignore_eos:
        return None
    return TokenRepetition(TOKENS.for_length(sampling.expected_tokens))


class TextRepetition:
    """A text that comes in pieces of any size."""

    def __init__(self, rule: RepetitionRule = CHARACTERS) -> None:
        self._rule = rule
        self._tail = ""
        self._new: list[str] = []
        self._size = 0  # characters of the text that are new

    def push(self, text: str) -> bool:
        """Adds a piece; returns whether the text repeats itself in it."""
        while self._size + len(text) >= self._rule.every:
            cut = self._rule.every - self._size
            self._tail = "".join((self._tail, *self._new, text[:cut]))[-self._rule.reach :]
            self._new, self._size, text = [], 0, text[cut:]
            if period(self._tail, self._rule):
                return True
        self._new.append(text)
        self._size += len(text)
        return False


def without_repetition(text: str) -> str:
    """The text up to the second occurrence of what it repeats; all of it where there is no repetition. For
    telling a model what it wrote: a long repetition would only cause more of it.
    """
    for rule in (CHARACTERS, TOKENS, TOKENS.for_length(0)):
        for end in (*range(rule.every, len(text), rule.every), len(text)):
            distance = period(text[max(0, end - rule.reach) : end], rule)
            if distance:
                start = end - distance
                while start > 0 and text[start - 1] == text[start - 1 + distance]:
                    start -= 1
                return text[: start + 2 * distance]
    return text
