"""Positions at which a cached prefix can be extended: no later message changes the prompt before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.errors import InvalidRequest
from engine.long_text import Budget
from engine.template import ChatTemplate, Written
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest
from proxy.prompts.canonical import Recent
from proxy.prompts.rendering import conversations, holds_calls, render_tools

# A message may begin with any of these: a tokenizer can join its first character with what precedes it.
_BEGINNINGS = ("x", "\n", " ", "{", "[", '"', "0")
# Placeholders for texts that are not known yet, from the private use area: no text begins with these two.
_UNKNOWN, _OTHER = "\ue000", "\ue001"


def write_prompt(
    template: ChatTemplate, request: ChatRequest, in_place: bool = True, budget: Budget | None = None
) -> Written:
    """The prompt in the first form that the template accepts and that shows the calls. budget: is told the
    length of the prompt.

    Raises InvalidRequest where the template accepts none, and Unwanted.
    """
    written = _write_prompt(template, request, in_place, budget or Budget())
    if budget is not None:
        budget.expect(len(written.text))
    return written


def _write_prompt(template: ChatTemplate, request: ChatRequest, in_place: bool, budget: Budget) -> Written:
    tools = render_tools(request)
    refusal: InvalidRequest | None = None
    without: Written | None = None
    for messages in conversations(request, in_place=in_place):
        budget.check()
        try:
            written = template.write(messages, tools, **request.template_options)
        except InvalidRequest as error:
            refusal = refusal or error
            continue
        if holds_calls(written.plain, request):
            return written
        without = without or written
    if without is not None:
        return without
    assert refusal is not None
    raise refusal


def written_before(template: ChatTemplate, request: ChatRequest, in_place: bool) -> str:
    """The prompt's text up to the next message's own text, whatever that text will be.

    The next message is the result of the last answer's first call, or the user's. Raises InvalidRequest.
    """
    calls = request.messages[-1].calls
    if calls:  # some clients name the tool in its result, others do not
        named = Message.of(Role.tool, _UNKNOWN, call_id=calls[0].id, name=calls[0].name)
        following = [named, Message.of(Role.tool, _OTHER, call_id=calls[0].id)]
    else:
        following = [Message.of(Role.user, _UNKNOWN), Message.of(Role.user, _OTHER)]
    text, other = (
        write_prompt(template, replace(request, messages=(*request.messages, message)), in_place).text
        for message in following
    )
    return text[: agreed(text, other)]


def settled(template: ChatTemplate, text: str) -> tuple[str, tuple[int, ...]]:
    """Splits the beginning of a prompt behind its last control token.

    Returns the text up to there, and those tokens of the rest that stay the same whatever follows.
    """
    controls = template.controls_in(text)
    if not controls:
        return "", _stable(template, text)
    last = controls[-1]
    at = text.rindex(last) + len(last)
    tokens = _stable(template, text[at - len(last) :])
    # encoded behind a control token, because some tokenizers treat the beginning of a text differently
    return text[:at], tokens[1:]


def _stable(template: ChatTemplate, text: str) -> tuple[int, ...]:
    encoded = [template.encode_cut(text + begun) for begun in _BEGINNINGS]
    return encoded[0][: min(agreed(encoded[0], other) for other in encoded[1:])]


def agreed(first: str | tuple[int, ...], second: str | tuple[int, ...]) -> int:
    """How many characters or tokens agree from the beginning."""
    least, most = 0, min(len(first), len(second))
    while least < most:  # binary search: comparing whole pieces is fast
        middle = (least + most + 1) // 2
        if first[:middle] == second[:middle]:
            least = middle
        else:
            most = middle - 1
    return least


class Marks:
    """Positions of prompts, in tokens, at which later prompts may differ. For one thread.

    These are the end of the system message and tools, and the end of each turn. They are needed for models
    whose state can be kept at such positions only.
    """

    def __init__(self, template: ChatTemplate, end_tokens: Sequence[int], in_place: bool) -> None:
        self._template = template
        self._end_tokens = frozenset(end_tokens)
        self._in_place = in_place
        self._heads: Recent[str, int] = Recent(256)

    def find(self, request: ChatRequest, text: str, tokens: Sequence[int]) -> tuple[int, ...]:
        """The positions in one prompt. request: the prompt was written from it. text: of the prompt, as
        written.
        """
        ends = {at + 1 for at, token in enumerate(tokens) if token in self._end_tokens}
        controls = self._template.controls_in(text)
        ids = {self._template.markers[control] for control in set(controls)}
        places = [at + 1 for at, token in enumerate(tokens) if token in ids]
        head = self._head(request, text)
        if head and len(places) == len(controls):
            ends.add(places[head - 1])
        return tuple(sorted(ends))

    def _head(self, request: ChatRequest, text: str) -> int:
        """How many control tokens precede the first message that is not a system message; 0 where that is
        unknown.
        """
        at = next((n for n, one in enumerate(request.messages) if one.role is not Role.system), None)
        if at is None:
            return 0
        texts = [(message.role, message.text) for message in request.messages[:at]]
        key = repr((request.listed_tools, request.template_options, texts))
        known = self._heads.get(key)
        if known is not None:
            return known
        changed = request.messages[at].with_text(_UNKNOWN)
        messages = (*request.messages[:at], changed, *request.messages[at + 1 :])
        try:
            other = write_prompt(self._template, replace(request, messages=messages), self._in_place).text
        except InvalidRequest:
            return 0
        count = len(self._template.controls_in(text[: agreed(text, other)]))
        self._heads.put(key, count)
        return count
