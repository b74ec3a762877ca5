"""The hidden fork: the conversation that the model sees when it is asked again, and the client never sees."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence

from engine.repetition import without_repetition
from proxy.conversation.message import Message, PastCall, Role
from proxy.guard.attempt import Attempt
from repair.reask import WAITS, correction
from repair.split_turn import Part
from repair.tools import ToolSet
from repair.types import Problem, Rejected, ToolCall

# Characters of an attempt that the model is shown, and of a tool name that may stand in the history.
_HEAD, _TAIL = 3000, 1000
_NAME = 200


def extend(
    messages: Sequence[Message], attempt: Attempt, problems: tuple[Problem, ...], tools: ToolSet
) -> tuple[Message, ...]:
    """The conversation, the model's attempt, and what was wrong with it.

    Calls that came as structure, or were right in themselves, become calls with results, a form that models
    know. Everything else becomes the text that the model wrote, followed by a message of the user.
    """
    called = attempt.calls or tuple(ToolCall(call.name, call.arguments) for call in attempt.emitted)
    if called and all(_can_stand(call) for call in called):
        return (*messages, *_as_calls(attempt, called, problems, tools))
    told = _correct(attempt, problems, tools)
    text, reasoning = attempt.text, attempt.reasoning
    if attempt.repeated:
        text, reasoning = without_repetition(text), without_repetition(reasoning)
    said = [Message.of(Role.assistant, head_and_tail(text), head_and_tail(reasoning))] if text.strip() else []
    return (*messages, *said, Message.of(Role.user, told))


def _as_calls(
    attempt: Attempt, called: Sequence[ToolCall], problems: tuple[Problem, ...], tools: ToolSet
) -> list[Message]:
    past = tuple(PastCall(f"call_{secrets.token_hex(12)}", call.name, call.arguments) for call in called)
    parts = attempt.parts.calls if attempt.parts else ()
    text = head_and_tail(attempt.text[: attempt.shown])
    answers = []
    for index, call in enumerate(past):
        told = _answer(parts[index], tools) if index < len(parts) else _whole(call.name, problems, tools)
        answers.append(Message.of(Role.tool, told, call_id=call.id, name=call.name))
    return [Message.of(Role.assistant, text, head_and_tail(attempt.reasoning), past), *answers]


def _answer(part: Part, tools: ToolSet) -> str:
    if isinstance(part.outcome, Rejected):
        return correction(part.outcome.problems, tools, part.name or None)
    return WAITS


def _whole(name: str, problems: tuple[Problem, ...], tools: ToolSet) -> str:
    return correction(problems, tools, name if tools.get(name) is not None else None)


def _correct(attempt: Attempt, problems: tuple[Problem, ...], tools: ToolSet) -> str:
    """One message about all calls: the wrong ones one by one, where they are known, and the kept ones."""
    parts = attempt.parts.calls if attempt.parts else ()
    bad = [(part.name, part.outcome.problems) for part in parts if isinstance(part.outcome, Rejected)]
    kept = [part.name for part in parts if not isinstance(part.outcome, Rejected)]
    told = {problem for _, some in bad for problem in some}
    further = tuple(problem for problem in problems if problem not in told)
    if further:
        bad.append(("" if bad else _only_name(problems, tools), further))
    last = len(bad) - 1
    return "\n\n".join(
        correction(some, tools, name or None, kept if index == last else ())
        for index, (name, some) in enumerate(bad)
    )


def _only_name(problems: tuple[Problem, ...], tools: ToolSet) -> str:
    """The only declared tool's name, or "": with one tool it is clear whose schema to show."""
    return tools.names[0] if problems and len(tools) == 1 else ""


def head_and_tail(text: str) -> str:
    """The text; of a long text its beginning and end, because a runaway text would fill the context."""
    if len(text) <= _HEAD + _TAIL:
        return text
    return f"{text[:_HEAD]}\n[... {len(text) - _HEAD - _TAIL} characters left out ...]\n{text[-_TAIL:]}"


def _can_stand(call: ToolCall) -> bool:
    """Whether the call can be part of the history as a call."""
    short = len(call.name) <= _NAME and len(call.arguments) <= _HEAD + _TAIL
    return bool(call.name) and short and _is_object(call.arguments)


def _is_object(arguments: str) -> bool:
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False
