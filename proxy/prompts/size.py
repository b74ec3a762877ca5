"""Tells before a prompt is written that it would be too long, by what is certain of its size.

A text of N characters becomes at least N / L tokens, if no token of the vocabulary stands for more than L
characters, and no token holds the texts of two messages. Only those texts count that the chat template is
seen to write: the user's, a tool's and the system's, and none of an answer, of which templates leave parts
out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.errors import ContextOverflow, InvalidRequest
from engine.longest_token import longest_token
from engine.template import ChatTemplate
from proxy.conversation.message import Message, PastCall, Role
from proxy.conversation.request import ChatRequest
from proxy.conversation.volatile import without_header_lines
from proxy.prompts.boundaries import write_prompt

# Characters of a token of an ordinary text, for the estimate that an error tells.
_USUAL = 4
_SAID = {Role.system: "what the system says", Role.user: "what the user says", Role.tool: "what a tool says"}
_CALL = PastCall("call00001", "look", "{}")


@dataclass(frozen=True, slots=True)
class SizeBound:
    """longest: characters of one token at most; None where that is not known. shown: the roles whose texts
    the template writes.
    """

    longest: int | None
    shown: frozenset[Role]

    @classmethod
    def of(cls, template: ChatTemplate) -> SizeBound:
        """Has the template write short conversations, with calls and without, and looks at what is there."""
        shown = frozenset(_SAID)
        for calls in ((_CALL,), ()):
            early, late = _conversation("early", calls), _conversation("late", calls)
            request = ChatRequest("", (*early, *late[1:]))  # many templates take one system message alone
            try:
                text = write_prompt(template, request).plain
            except InvalidRequest:
                return cls(None, frozenset())
            shown -= {one.role for one in request.messages if one.text not in text}
        return cls(longest_token(template.tokenizer), shown)

    def check(self, request: ChatRequest, limit: int) -> None:
        """Raises ContextOverflow. limit: the tokens that prompt and answer may have together."""
        if self.longest is None:
            return
        if request.raw is not None:
            texts: Iterable[str | tuple[int, ...]] = [request.raw.content]
        else:
            texts = (_written(message) for message in request.messages if message.role in self.shown)
        least = characters = 0
        for text in texts:
            characters += len(text)
            least += self._least(text)
        if least >= limit:
            raise ContextOverflow(max(least, characters // _USUAL), limit, estimated=True)

    def _least(self, text: str | tuple[int, ...]) -> int:
        """How many tokens a text has at least. Templates may strip it."""
        assert self.longest is not None
        if isinstance(text, tuple):
            return len(text)
        return -(-len(text.strip()) // self.longest)


def _written(message: Message) -> str:
    """The text of which nothing is left out: canonical rules may drop a system message's header lines."""
    return without_header_lines(message.text) if message.role is Role.system else message.text


def _conversation(when: str, calls: Sequence[PastCall]) -> tuple[Message, ...]:
    return (
        Message.of(Role.system, f"{when} {_SAID[Role.system]}"),
        Message.of(Role.user, f"{when} {_SAID[Role.user]}"),
        Message.of(Role.assistant, "I look.", calls=calls),
        Message.of(Role.tool, f"{when} {_SAID[Role.tool]}", call_id=_CALL.id, name=_CALL.name),
        Message.of(Role.assistant, "Done."),
    )
