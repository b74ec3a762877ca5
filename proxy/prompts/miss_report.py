"""The miss report: where a prompt differs from the closest earlier one of its session, and what changed."""

from __future__ import annotations

import json
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np

from engine.template import ChatTemplate
from engine.types import CacheReport as EngineReport
from proxy.conversation.cache_report import CacheReport, MissCause
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest
from proxy.conversation.volatile import without_header_lines, without_volatile
from proxy.prompts.answer_meaning import AnswerMeaning
from proxy.prompts.canonical import LONGEST_HELD, Recent, digest_of

# Tokens. With what is kept of their messages each takes about eight bytes.
_CAPACITY = 1_000_000
_MOST = 2048  # sessions; a short one takes far more memory than its tokens do
_BRANCHES = 4
_WINDOW = 12
# Tokens of an answer's head, which the template may write differently once it is history (`<think>`).
_HEAD = 16
# Causes that only the engine knows, and how many of the agreeing tokens it may compute again before such a
# cause counts.
_LOST = frozenset({MissCause.evicted, MissCause.ram, MissCause.late, MissCause.boundary})
_SLACK = 16


@dataclass(frozen=True, slots=True)
class Layers:
    """Digests of one message: of its text, and twice with less of what may change without changing the
    meaning.

    A system message: without header lines, then without everything volatile.
    An answer: without its reasoning, then by its meaning.
    """

    role: Role
    exact: bytes
    less: bytes
    least: bytes

    @classmethod
    def of(cls, message: Message) -> Layers:
        if message.role is Role.system and len(message.text) > LONGEST_HELD:
            texts = [message.text] * 3
        elif message.role is Role.system:
            texts = [message.text, without_header_lines(message.text), without_volatile(message.text)]
        elif message.role is Role.assistant:
            calls = [(call.name, call.arguments) for call in message.calls]
            said = AnswerMeaning.of(message)
            plain = repr((message.text, calls))
            texts = [repr((plain, message.reasoning)), plain, repr(said.without_reasoning)]
        else:
            texts = [message.text] * 3
        digests = {text: digest_of(f"{message.role}\0{text}") for text in set(texts)}
        return cls(message.role, *(digests[text] for text in texts))

    def cause(self, now: Layers) -> MissCause:
        """What changed in the message, given that something did."""
        match self.role:
            case Role.system:
                causes = MissCause.header, MissCause.line, MissCause.system
            case _:
                causes = MissCause.reasoning, MissCause.spelling, MissCause.edit
        return causes[0] if self.less == now.less else causes[1] if self.least == now.least else causes[2]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a prompt was written from. late_system: a system message does not stand at the head."""

    tools: bytes
    messages: tuple[Layers, ...]
    late_system: bool
    thoughtful: bool

    @classmethod
    def of(cls, request: ChatRequest) -> Layout:
        tools = [
            (tool.name, tool.description, json.dumps(dict(tool.parameters))) for tool in request.listed_tools
        ]
        return cls(
            digest_of(repr((request.tool_choice.mode.value == "none", tools))),
            tuple(map(Layers.of, request.messages)),
            any(message.role is Role.system for message in request.messages[1:]),
            any(message.reasoning for message in request.messages),
        )


@dataclass(slots=True, eq=False)
class Seen:
    """A prompt and, once there is one, its answer.

    tokens: of both.
    prompt: how many of them are the prompt's.
    held: whether the prompt is still remembered.
    ahead: the tokens that the next prompt is expected to have from ahead_at on, instead of these; none where
        it is expected to extend them.
    """

    layout: Layout
    tokens: array[int]
    prompt: int
    said: AnswerMeaning | None = None
    held: bool = False
    ahead: array[int] = field(default_factory=lambda: array("i"))
    ahead_at: int = 0


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a prompt shares with the closest one of its session.

    common: tokens that both share.
    ahead: tokens of it that were expected, and may have been computed before it came.

    The other fields are those of CacheReport.
    """

    total: int
    common: int
    cause: MissCause
    message: int | None = None
    before: str = ""
    now: str = ""
    ahead: int = 0

    def report(self, engine: EngineReport) -> CacheReport:
        """The report with what the engine says: where the request did not change, the engine may know the
        cause.
        """
        found = CacheReport(engine.reused, self.total, engine.tier)
        if engine.reused >= self.total - 1:  # the last token is computed in any case: nothing was missed
            return found
        if self.ahead and engine.reused + _SLACK >= self.ahead:
            return found
        if self.cause is MissCause.none or (self.cause is MissCause.cold and not self.common):
            lost = engine.cause in _LOST and self.common - engine.reused > _SLACK
            foreign = engine.cause == MissCause.fingerprint
            return replace(found, cause=MissCause(engine.cause) if lost or foreign else self.cause)
        where = None if self.cause is MissCause.cold else self.common
        return replace(
            found, cause=self.cause, at=where, message=self.message, before=self.before, now=self.now
        )


class Prompts:
    """The prompts seen last: at most `capacity` tokens, of `most` sessions and a few branches each. For
    several threads.
    """

    def __init__(self, template: ChatTemplate, capacity: int = _CAPACITY, most: int = _MOST) -> None:
        self._template = template
        self._capacity = capacity
        self._most = most
        self._size = 0
        self._sessions: OrderedDict[str, list[Seen]] = OrderedDict()
        self._questions: Recent[bytes, str] = Recent(4096)
        self._lock = Lock()

    @property
    def tokens(self) -> int:
        """How many tokens are remembered."""
        return self._size

    def note(self, request: ChatRequest, tokens: Sequence[int]) -> tuple[Outlook, Seen]:
        """Compares a prompt with earlier ones and remembers it. request: the prompt was written from it."""
        seen = Seen(Layout.of(request), array("i", tokens), len(tokens))
        with self._lock:
            outlook, closest = self._compare(request, seen)
            self._remember(request, seen, closest)
        return outlook, seen

    def compare(self, request: ChatRequest, tokens: Sequence[int]) -> Outlook:
        """Compares like note(), but remembers nothing."""
        new = Seen(Layout.of(request), array("i", tokens), len(tokens))
        with self._lock:
            return self._compare(request, new)[0]

    def answered(self, seen: Seen, generated: Sequence[int], said: AnswerMeaning | None) -> None:
        with self._lock:
            if seen.held:
                seen.tokens.extend(generated)
                seen.said = said
                self._size += len(generated)

    def foresee(self, session: str, tokens: Sequence[int]) -> None:
        """Expects the next prompt of the session to begin with these tokens."""
        new = array("i", tokens)
        with self._lock:
            shared = [(common(one.tokens, new), one) for one in self._sessions.get(session, ())]
            if shared:
                length, closest = max(shared, key=lambda pair: pair[0])
                closest.ahead = new[length:] if length < len(closest.tokens) else array("i")
                closest.ahead_at = length

    def _compare(self, request: ChatRequest, new: Seen) -> tuple[Outlook, Seen | None]:
        shared = [(common(one.tokens, new.tokens), one) for one in self._candidates(request)]
        if not shared:
            return Outlook(new.prompt, 0, MissCause.cold), None
        length, closest = max(shared, key=lambda pair: pair[0])
        if length == len(closest.tokens):
            return Outlook(new.prompt, length, MissCause.none), closest
        if length == new.prompt:
            return Outlook(new.prompt, length, MissCause.none), None
        if not any(message.role is Role.assistant for message in request.messages):
            return Outlook(new.prompt, length, MissCause.cold), None
        cause, message = find_cause(closest, new.layout, request.messages, length)
        before, now = self._window(closest.tokens, length), self._window(new.tokens, length)
        end = closest.ahead_at + len(closest.ahead)
        foreseen = length >= closest.ahead_at and new.tokens[closest.ahead_at : end] == closest.ahead
        ahead = end if foreseen and closest.ahead else 0
        return Outlook(new.prompt, length, cause, message, before, now, ahead), None

    def _candidates(self, request: ChatRequest) -> list[Seen]:
        """Earlier prompts of the session; if there are none, of the session that began with the same
        question: a session without a name is known by its system message, which may be what changed.
        """
        known = self._sessions.get(request.session.id)
        if known is None and any(message.role is Role.assistant for message in request.messages):
            known = self._sessions.get(self._questions.get(_question(request)) or "")
        return known or []

    def _remember(self, request: ChatRequest, seen: Seen, closest: Seen | None) -> None:
        branches = self._sessions.setdefault(request.session.id, [])
        self._sessions.move_to_end(request.session.id)
        self._questions.put(_question(request), request.session.id)
        if closest in branches:
            self._forget(branches, closest)
        branches.append(seen)
        seen.held = True
        self._size += len(seen.tokens)
        if len(branches) > _BRANCHES:
            self._forget(branches, branches[0])
        while len(self._sessions) > (self._most if self._size <= self._capacity else 1):
            oldest = next(iter(self._sessions))
            branches = self._sessions.pop(oldest)
            for one in list(branches):
                self._forget(branches, one)

    def _forget(self, branches: list[Seen], seen: Seen) -> None:
        branches.remove(seen)
        seen.held = False
        self._size -= len(seen.tokens)

    def _window(self, tokens: array[int], at: int) -> str:
        return self._template.decode(tuple(tokens[max(0, at - _WINDOW) : at + _WINDOW]))


def find_cause(
    old: Seen, new: Layout, messages: Sequence[Message], length: int
) -> tuple[MissCause, int | None]:
    """Why a prompt differs from an earlier one after `length` tokens, and at which message, if at one."""
    if old.layout.tools != new.tools:
        return MissCause.tools, None
    for index, (then, now) in enumerate(zip(old.layout.messages, new.messages, strict=False)):
        if then.exact != now.exact:
            return then.cause(now), index
    answered = len(old.layout.messages)
    if len(new.messages) <= answered:
        return MissCause.edit, len(new.messages)
    if length < old.prompt - _HEAD:
        if new.late_system:
            return MissCause.hoisted, None
        return (MissCause.reasoning if new.thoughtful else MissCause.template), None
    return _cause_in_answer(old.said, messages[answered]), answered


def _cause_in_answer(said: AnswerMeaning | None, reply: Message) -> MissCause:
    """The cause within an answer. said: None where the answer was not finished."""
    if reply.role is not Role.assistant:
        return MissCause.edit
    copy = AnswerMeaning.of(reply)
    if said is None or copy.without_reasoning != said.without_reasoning:
        return MissCause.answer
    return MissCause.reasoning if said.reasoning else MissCause.spelling


def common(first: array[int], second: array[int]) -> int:
    """How many tokens agree from the beginning."""
    size = min(len(first), len(second))
    ours, theirs = np.frombuffer(first, np.int32, size), np.frombuffer(second, np.int32, size)
    differing = np.flatnonzero(ours != theirs)
    return int(differing[0]) if len(differing) else size


def _question(request: ChatRequest) -> bytes:
    first = next((message.text for message in request.messages if message.role is Role.user), "")
    return digest_of(first)
