"""One message of a conversation: its parts in the order in which the client gave them.

A part holds what we understand and keeps the other fields that the client sent, so that an upstream gets the
message as it was sent. What a model's template cannot show is decided where the prompt is written, not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    system = "system"
    user = "user"
    assistant = "assistant"
    tool = "tool"


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text.

    extra: further fields of the part as it was sent, such as `cache_control`, and its `type` where that is a
        server's own.
    refusal: the model said with it that it will not answer.
    """

    text: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    refusal: bool = False


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """The model's own reasoning.

    signature: identifies the reasoning to the model that wrote it.
    redacted: reasoning that only that model can read, in place of the text.
    """

    text: str
    signature: str = ""
    redacted: str = ""


@dataclass(frozen=True, slots=True)
class MediaPart:
    """An image, audio, video or file.

    kind: the client's word for it.
    part: as OpenAI's chat API writes it, the form in which upstreams are asked.
    """

    kind: str
    part: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UnknownPart:
    """A part of an unknown type.

    kind: the client's word for it, which may be empty.
    part: as it was sent, where that is the form in which upstreams are asked; else empty.
    """

    kind: str
    part: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PastCall:
    """A tool call of the history, as the client sent it. arguments: any text, valid JSON or not. extra: as in
    TextPart.
    """

    id: str
    name: str
    arguments: str
    extra: Mapping[str, Any] = field(default_factory=dict)


ResultContent = TextPart | MediaPart | UnknownPart


@dataclass(frozen=True, slots=True)
class ResultPart:
    """What a tool answered, alone in a message of the role `tool`.

    name: the tool's name, which may be empty.
    is_error: the client says that the tool failed.
    """

    call_id: str
    name: str
    parts: tuple[ResultContent, ...]
    is_error: bool = False

    @property
    def text(self) -> str:
        return _joined(self.parts, "\n")

    @property
    def told(self) -> tuple[ResultContent, ...]:
        """The content for readers without any other sign of a failure: it begins with a line that says so."""
        return (_FAILED, *self.parts) if self.is_error else self.parts


_FAILED = TextPart("The tool failed:")

Part = TextPart | ReasoningPart | MediaPart | UnknownPart | PastCall | ResultPart


@dataclass(frozen=True, slots=True)
class Message:
    """A message of one role.

    parts: in the client's order; reasoning and calls in the assistant's messages only.
    sent_as: the client's word for the role where we have none, such as `developer`.
    extra: further fields of the message as it was sent, such as `name`.
    """

    role: Role
    parts: tuple[Part, ...] = ()
    sent_as: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        role: Role,
        text: str = "",
        reasoning: str = "",
        calls: Sequence[PastCall] = (),
        call_id: str = "",
        name: str = "",
    ) -> Message:
        """A message with at most one text. call_id, name: for tool results only."""
        said = (TextPart(text),) if text else ()
        if role is Role.tool:
            return cls(role, (ResultPart(call_id, name, said),))
        thought = (ReasoningPart(reasoning),) if reasoning else ()
        return cls(role, (*thought, *said, *calls))

    @property
    def text(self) -> str:
        """The texts, joined. The texts of an answer are one text that was cut; other texts are separate."""
        result = self.result
        if result is not None:
            return result.text
        return _joined(self.parts, "" if self.role is Role.assistant else "\n")

    @property
    def reasoning(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, ReasoningPart))

    @property
    def calls(self) -> tuple[PastCall, ...]:
        return tuple(part for part in self.parts if isinstance(part, PastCall))

    @property
    def result(self) -> ResultPart | None:
        """The result that a message of the role `tool` holds."""
        first = self.parts[0] if self.parts else None
        return first if isinstance(first, ResultPart) else None

    @property
    def call_id(self) -> str:
        """The id of the call that this message is the result of."""
        result = self.result
        return "" if result is None else result.call_id

    @property
    def name(self) -> str:
        """The name of the tool that this message is the result of, where the client told it."""
        result = self.result
        return "" if result is None else result.name

    @property
    def is_empty_answer(self) -> bool:
        """Whether this is an answer that held nothing, which agents keep in the history."""
        blank = all(isinstance(part, TextPart | ReasoningPart) and not part.text for part in self.parts)
        return self.role is Role.assistant and blank

    def with_text(self, text: str) -> Message:
        """The message with this text in place of its texts: where the first stood, else before the calls."""
        if self.result is not None:
            return replace(self, parts=(replace(self.result, parts=_with_text(self.result.parts, text)),))
        return replace(self, parts=_with_text(self.parts, text))

    def with_more(self, text: str) -> Message:
        """The message with one more text at the end of its result, or of its content."""
        more = TextPart(text)
        if self.result is not None:
            return replace(self, parts=(replace(self.result, parts=(*self.result.parts, more)),))
        return replace(self, parts=(*self.parts, more))

    def with_calls(self, calls: Sequence[PastCall]) -> Message:
        """The message with these calls after everything else."""
        others = (part for part in self.parts if not isinstance(part, PastCall))
        return replace(self, parts=(*others, *calls))

    def without_reasoning(self) -> Message:
        return replace(self, parts=tuple(one for one in self.parts if not isinstance(one, ReasoningPart)))

    def in_words(self) -> Message:
        """The message for readers of text alone: media and unknown parts become a line that names them, and
        further fields are dropped. The same object where nothing changes.
        """
        if not self.extra and not self.sent_as and all(map(_is_in_words, self.parts)):
            return self
        return Message(self.role, tuple(map(_in_words, self.parts)))


def _joined(parts: Sequence[Part], between: str) -> str:
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    return between.join([part.text for part in parts if isinstance(part, TextPart)])


def _is_in_words(part: Part) -> bool:
    """Whether _in_words() would change nothing."""
    match part:
        case TextPart():
            return not part.extra and not part.refusal
        case PastCall():
            return not part.extra
        case ResultPart():
            return not part.is_error and all(map(_is_in_words, part.parts))
        case ReasoningPart():
            return not part.signature and not part.redacted
        case MediaPart() | UnknownPart():
            return False


def _with_text(parts: tuple[Any, ...], text: str) -> tuple[Any, ...]:
    """The parts with this text in place of their texts. parts: all of one union of types, which stays the
    same.
    """
    places = [at for at, part in enumerate(parts) if isinstance(part, TextPart)]
    calls = [at for at, part in enumerate(parts) if isinstance(part, PastCall)]
    at = (places or calls or [len(parts)])[0]
    before, behind = parts[:at], parts[at:]
    return (*before, TextPart(text), *(part for part in behind if not isinstance(part, TextPart)))


def _in_words(part: Part) -> Part:
    match part:
        case TextPart(text):
            return TextPart(text)
        case MediaPart() | UnknownPart():
            return TextPart(placeholder(part))
        case PastCall():
            return replace(part, extra={})
        case ResultPart():
            return replace(part, parts=tuple(map(_content_in_words, part.told)), is_error=False)
        case ReasoningPart():
            return ReasoningPart(part.text)


def _content_in_words(part: ResultContent) -> TextPart:
    return TextPart(part.text if isinstance(part, TextPart) else placeholder(part))


def placeholder(part: MediaPart | UnknownPart) -> str:
    """The text for a model that cannot read the part: an agent's run must not end over a picture."""
    if isinstance(part, MediaPart):
        return f"[{part.kind} omitted: this model reads text only]"
    return f"[{part.kind or 'part'} omitted]"
