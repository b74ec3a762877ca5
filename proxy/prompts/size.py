"""Tells before a prompt is written that it would be too long, by what is certain of its size.

A text of N characters becomes at least N / L tokens, if no token of the vocabulary stands for more than L
characters, and no token holds the texts of two messages. Only those texts count that the chat template is
seen to write: the user's, a tool's, the system's and the names of properties, of tools and of the schema of
the answer (which the system message shows), but none of an answer, of which templates leave parts out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import ContextOverflow, InvalidRequest
from engine.longest_token import longest_token
from engine.template import ChatTemplate
from proxy.conversation.message import Message, PastCall, Role
from proxy.conversation.request import ChatRequest, ToolMode
from proxy.conversation.volatile import without_header_lines
from proxy.prompts.boundaries import write_prompt
from repair.types import ToolDefinition

# Characters of a token of an ordinary text, for the estimate that an error tells.
_USUAL = 4
# Characters at the ends of a text among which one is looked for that is no white space.
_END = 1024
_SAID = {Role.system: "what the system says", Role.user: "what the user says", Role.tool: "what a tool says"}
_TOOL = ToolDefinition(
    "look",
    "Looks.",
    {"type": "object", "properties": {"first_place": {"type": "string"}, "second_place": {}}},
)
_CALL = PastCall("call00001", "look", "{}")


@dataclass(frozen=True, slots=True)
class SizeBound:
    """longest: characters of one token at most; None where that is not known. shown: the roles whose texts
    the template writes. properties: it writes the names of a tool's properties.
    """

    longest: int | None
    shown: frozenset[Role]
    properties: bool = False

    @classmethod
    def of(cls, template: ChatTemplate) -> SizeBound:
        """Has the template write short conversations, with calls and without, and looks at what is there."""
        shown, properties = frozenset(_SAID), True
        for calls in ((_CALL,), ()):
            early, late = _conversation("early", calls), _conversation("late", calls)
            # many templates take one system message alone
            request = ChatRequest("", (*early, *late[1:]), (_TOOL,))
            try:
                text = write_prompt(template, request).plain
            except InvalidRequest:
                return cls(None, frozenset())
            shown -= {one.role for one in request.messages if one.text not in text}
            properties &= all(name in text for name in _properties(_TOOL.parameters))
        return cls(longest_token(template.tokenizer), shown, properties)

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
        if self.properties and request.tool_choice.mode is not ToolMode.none:
            tools = sum(len(name) for tool in request.listed_tools for name in _properties(tool.parameters))
            characters += tools
            least += tools // self.longest
        if request.raw is None and request.answer_schema is not None and Role.system in self.shown:
            answer = sum(map(len, _properties(request.answer_schema)))
            characters += answer
            least += answer // self.longest
        if least >= limit:
            raise ContextOverflow(max(least, characters // _USUAL), limit, estimated=True)

    def _least(self, text: str | tuple[int, ...]) -> int:
        """How many tokens a text has at least. Templates may strip it."""
        assert self.longest is not None
        if isinstance(text, tuple):
            return len(text)
        return -(-stripped_length(text) // self.longest)


def stripped_length(text: str) -> int:
    """The characters of text.strip(), of a long text without a copy of it."""
    head, tail = text[:_END], text[-_END:]
    if len(text) <= 2 * _END or head.isspace() or tail.isspace():
        return len(text.strip())
    return len(text) - (len(head) - len(head.lstrip())) - (len(tail) - len(tail.rstrip()))


def _properties(schema: Mapping[str, Any]) -> Sequence[str]:
    named = schema.get("properties")
    return tuple(named) if isinstance(named, dict) else ()


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
