"""The meaning of an answer, so that the model's own text can be compared with a client's copy of it.

Two answers mean the same if their calls have the same JSON values, and their text and reasoning are equal but
for surrounding space.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from proxy.conversation.message import Message, PastCall, Role
from proxy.conversation.request import ChatRequest, ToolMode
from proxy.prompts.canonical import Recent
from repair.formats import Wire
from repair.tools import ToolSet
from repair.turn import Turn, TurnPolicy
from repair.types import ReasoningDelta, TextDelta

_READERS = 256


@dataclass(frozen=True, slots=True)
class AnswerMeaning:
    """An answer with its text and reasoning stripped. calls: names and argument texts."""

    text: str
    reasoning: str
    calls: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, message: Message) -> AnswerMeaning:
        calls = tuple((call.name, call.arguments) for call in message.calls)
        return cls(message.text.strip(), message.reasoning.strip(), calls)

    @property
    def without_reasoning(self) -> tuple[object, ...]:
        """Equal for answers that mean the same, whatever their reasoning."""
        return self.text, tuple((name, value_of(arguments)) for name, arguments in self.calls)

    @property
    def meaning(self) -> tuple[object, ...]:
        return self.reasoning, *self.without_reasoning

    def fits(self, copy: AnswerMeaning) -> bool:
        """Whether a client's copy is this answer, with or without its reasoning."""
        return copy.reasoning in ("", self.reasoning) and copy.without_reasoning == self.without_reasoning

    def as_message(self, copy: Message) -> Message:
        """The answer as a message, with the call ids of the client's copy."""
        calls = tuple(
            PastCall(known.id, name, arguments)
            for known, (name, arguments) in zip(copy.calls, self.calls, strict=True)
        )
        return Message.of(Role.assistant, self.text, self.reasoning, calls)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads a model's text as the guard does in mode `off`: what does not parse strictly is not a call."""

    format: str | Wire
    tools: ToolSet
    policy: TurnPolicy
    generation_prompt: str

    def read(self, text: str) -> AnswerMeaning:
        turn = Turn(self.tools, self.format, self.policy, self.generation_prompt)
        deltas = turn.feed(text)
        outcome = turn.close("stop")
        deltas += outcome.events
        said = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        thought = "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta))
        calls = tuple((call.name, call.arguments) for call in outcome.calls)
        return AnswerMeaning(said.strip(), thought.strip(), calls)


class Readers:
    """The readers of the requests seen last. Each remembered answer has one, and the declarations of an
    agent's tools may be far larger than its answers: requests that declare the same tools and choose alike
    share it.
    """

    def __init__(self, format: str | Wire) -> None:
        self._format = format
        self._known: Recent[tuple[object, ...], Reader] = Recent(_READERS)

    def of(self, request: ChatRequest, generation_prompt: str) -> Reader:
        """generation_prompt: the end of the prompt, which the template writes for the model to go on from."""
        choice = request.tool_choice
        name = choice.name if choice.mode is ToolMode.named else None
        policy = TurnPolicy(choice.mode.value, name, request.parallel_tool_calls, enabled=False)
        tools = ToolSet.compile(request.tools)
        # equal schemas are one object, which the reader keeps: meanwhile its id stands for no other
        schemas = tuple((tool.name, id(tool.schema)) for tool in tools)
        key = (policy, generation_prompt, schemas)
        return self._known.first(key, Reader(self._format, tools, policy, generation_prompt))


def value_of(arguments: str) -> str:
    """Equal for texts of the same JSON value. Text that is not JSON is compared as text; no arguments count
    as `{}`.
    """
    try:
        value = json.loads(arguments) if arguments.strip() else {}
        return json.dumps({} if value is None else value, sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
