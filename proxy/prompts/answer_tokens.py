"""Puts the server's own answers into a new prompt as the exact tokens that were generated.

A prompt is written by the model's template, as text. Where one of our answers stands in it, the generated
tokens replace that text if three things are proved: all text before the answer is what was written before it
then; all tokens before it are those that the model saw then; and the template's text of the answer, read as a
model's answer is read, means what was generated. Otherwise the answer is encoded from the text.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from engine.long_text import Budget
from engine.template import CUT, ChatTemplate
from proxy.conversation.message import Message, Role
from proxy.prompts.answer_meaning import AnswerMeaning, Reader

_DIGEST_BYTES = 16
_SIBLINGS = 8
# Tokens of four bytes each: 16 MB.
_CAPACITY = 4_000_000
_MOST = 4096  # answers; a short one takes far more memory than its tokens do


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer begins.

    chars: characters of the written prompt before it.
    text, tokens: digests of all text and of all tokens before it.
    """

    chars: int
    text: bytes
    tokens: bytes


@dataclass(frozen=True, slots=True)
class Due:
    """An answer that is expected: to which conversation, where in the prompt, and how it will be read."""

    conversation: bytes
    place: Place
    reader: Reader


@dataclass(slots=True, eq=False)
class OwnTurn:
    """A finished answer.

    generated: its tokens, the last of which the template writes as `end`.
    proved: the template's text of the answer that was read and means the same.
    """

    due: Due
    said: AnswerMeaning
    controls: tuple[str, ...]
    generated: array[int]
    end: str
    proved: str | None = None

    def is_meant_by(self, written: str, controls: tuple[str, ...]) -> bool:
        if written == self.proved:
            return True
        if controls != self.controls:
            return False
        means_it = self.due.reader.read(written.replace(CUT, "")).meaning == self.said.meaning
        if means_it:
            self.proved = written
        return means_it


Candidates = Sequence[OwnTurn]


@dataclass(frozen=True, slots=True)
class Recalled:
    """A conversation in which our own answers were recognised.

    messages: with the answers restored.
    own: for each recognised answer, in order, the finished answers that it may be.
    conversation: the digest of the whole.
    """

    messages: tuple[Message, ...]
    own: tuple[Candidates, ...]
    conversation: bytes


@dataclass(frozen=True, slots=True)
class Joined:
    """A prompt's tokens. spliced: how many of our own answers are in it as they were generated."""

    tokens: tuple[int, ...]
    spliced: int


class OwnTurns:
    """The answers used last: to `most` conversations, and `capacity` tokens of them. For several threads.

    An answer is found by the conversation that it answered, in whatever session, so that a branch finds what
    it shares.
    """

    def __init__(self, template: ChatTemplate, capacity: int = _CAPACITY, most: int = _MOST) -> None:
        self._template = template
        self._capacity = capacity
        self._most = most
        self._size = 0
        self._turns: OrderedDict[bytes, list[OwnTurn]] = OrderedDict()
        self._lock = Lock()

    @property
    def tokens(self) -> int:
        return self._size

    def keep(self, due: Due, text: str, generated: Sequence[int]) -> AnswerMeaning | None:
        """Remembers a finished answer that ended with an end token, and returns its meaning. text: without
        that token.

        Returns None and remembers nothing where that token is not one that only the template can write.
        """
        said = due.reader.read(text)
        end = self._template.decode((generated[-1],))
        if self._template.controls_in(end) != (end,):
            return None
        controls = self._template.controls_in(text)
        with self._lock:
            self._add(OwnTurn(due, said, controls, array("i", generated), end))
        return said

    def _add(self, turn: OwnTurn) -> None:
        conversation = turn.due.conversation
        siblings = self._turns.setdefault(conversation, [])
        siblings.append(turn)
        self._turns.move_to_end(conversation)
        self._size += len(turn.generated)
        if len(siblings) > _SIBLINGS:
            self._size -= len(siblings.pop(0).generated)
        while self._size > self._capacity or len(self._turns) > self._most:
            _, gone = self._turns.popitem(last=False)
            self._size -= sum(len(one.generated) for one in gone)

    def recall(self, messages: Sequence[Message], *, reasoning: bool, text: bool) -> Recalled:
        """Recognises our own answers in a conversation.

        reasoning: restore the reasoning that the client left out.
        text: use our own text and arguments instead of the client's spelling of them.
        """
        restored: list[Message] = []
        own: list[Candidates] = []
        conversation = b""
        for message in messages:
            if message.role is Role.assistant and (reasoning or text):
                found = self._find(conversation, message)
                if found:
                    message = _restore(message, found[0].said, reasoning, text)
                    own.append(found)
            restored.append(message)
            conversation = _follow(conversation, message)
        return Recalled(tuple(restored), tuple(own), conversation)

    def _find(self, conversation: bytes, message: Message) -> list[OwnTurn]:
        """The finished answers that the message may be a copy of; none if they differ in their reasoning."""
        with self._lock:
            turns = list(self._turns.get(conversation, ()))
            if not turns:
                return []
            self._turns.move_to_end(conversation)
        copy = AnswerMeaning.of(message)
        found = [turn for turn in turns if turn.said.fits(copy)]
        return found if len({turn.said.reasoning for turn in found}) == 1 else []

    def join(self, written: str, own: Sequence[Candidates], budget: Budget | None = None) -> Joined:
        """The prompt's tokens. written: the template's text, with CUTs. own: the recalled answers; the last
        one used may stand anywhere. Raises Unwanted and ContextOverflow by the budget.
        """
        joint = _Joint(self._template, written, budget or Budget())
        spliced = sum(joint.splice(candidates) for candidates in own)
        return Joined(joint.finish(), spliced)


class _Joint:
    """Joins one prompt, from its beginning to its end."""

    def __init__(self, template: ChatTemplate, written: str, budget: Budget) -> None:
        self._template = template
        self._written = written
        self._budget = budget
        self._hashed = 0
        self._text = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._prompt = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._tokens = array("i")
        self._at = 0
        self._end: tuple[int, str] | None = None

    def splice(self, candidates: Candidates) -> bool:
        """Puts one of the candidates here, if one fits; returns whether it did."""
        return any(self._splice(turn) for turn in candidates)

    def _splice(self, turn: OwnTurn) -> bool:
        place = turn.due.place
        if place.chars < max(self._hashed, self._at) or not self._follows(place):
            return False
        end = self._written.find(turn.end, place.chars)
        if end < 0:
            return False
        region = self._written[place.chars : end]
        if not turn.is_meant_by(region, self._template.controls_in(region)):
            return False
        piece = array("i", self._encode(self._written[self._at : place.chars], Budget()))  # once a prompt
        prompt = self._prompt.copy()
        prompt.update(piece.tobytes())
        if prompt.digest() != place.tokens:
            return False
        prompt.update(turn.generated.tobytes())
        self._prompt = prompt
        self._tokens += piece + turn.generated
        self._at = end + len(turn.end)
        self._end = (turn.generated[-1], turn.end)
        return True

    def _follows(self, place: Place) -> bool:
        """Whether the text before the place is the same as it was then."""
        text = self._text.copy()
        text.update(_bytes(self._written[self._hashed : place.chars]))
        if text.digest() != place.text:
            return False
        self._text, self._hashed = text, place.chars
        return True

    def _encode(self, piece: str, budget: Budget) -> tuple[int, ...]:
        """Encodes a piece. After an end token it is encoded as part of the whole text, because some
        tokenizers treat the beginning of a text differently.
        """
        if self._end is None:
            return self._template.encode_cut(piece, budget)
        token, text = self._end
        encoded = self._template.encode_cut(text + piece, budget)
        return encoded[1:] if encoded[0] == token else self._template.encode_cut(piece)

    def finish(self) -> tuple[int, ...]:
        self._budget.spend(len(self._tokens), self._at)
        return (*self._tokens, *self._encode(self._written[self._at :], self._budget))


def place_of(written: str, tokens: Sequence[int]) -> Place:
    """Where the answer to a prompt begins."""
    text = hashlib.blake2b(_bytes(written), digest_size=_DIGEST_BYTES)
    prompt = hashlib.blake2b(array("i", tokens).tobytes(), digest_size=_DIGEST_BYTES)
    return Place(len(written), text.digest(), prompt.digest())


def _restore(copy: Message, said: AnswerMeaning, reasoning: bool, text: bool) -> Message:
    ours = said.as_message(copy)
    kept = ours if text else copy
    thought = ours.reasoning if reasoning else copy.reasoning
    return Message.of(Role.assistant, kept.text, thought, kept.calls)


def _follow(conversation: bytes, message: Message) -> bytes:
    """The digest of a conversation and one more message. Of an answer its meaning counts."""
    digest = hashlib.blake2b(conversation, digest_size=_DIGEST_BYTES)
    own = message.role is Role.assistant
    told = repr(AnswerMeaning.of(message).without_reasoning) if own else message.text
    digest.update(_bytes(f"{message.role}\0{told}"))
    return digest.digest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
