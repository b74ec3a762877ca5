"""Harmony (gpt-oss): messages with a channel; a message with a recipient is a call.

    <|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{json}<|call|>
    <|start|>assistant to=functions.f<|channel|>commentary json<|message|>{json}<|call|>

The analysis channel is reasoning, the final channel and commentary without a recipient are content.
`<|call|>` is a stop token that servers swallow.
"""

from __future__ import annotations

import re

from repair.regions import Region, goes_on, match_literal, read_span, skip_extra_closers, skip_space
from repair.tools import ToolSet
from repair.types import Body, Fix, Problem, RawCall, ToolCall

NAME = "harmony"
START, CHANNEL, MESSAGE = "<|start|>assistant", "<|channel|>", "<|message|>"
CALL_END = "<|call|>"
OPENERS = (
    f"{START}{CHANNEL}commentary to=",
    f"{START}{CHANNEL}analysis to=",
    f"{START} to=",
    f"{CHANNEL}commentary to=",
    f"{CHANNEL}analysis to=",
)
FRAME_ENDS = ("<|end|>", "<|return|>")
CLOSERS = (CALL_END, *FRAME_ENDS)
REASONING = (
    (f"{START}{CHANNEL}analysis{MESSAGE}", "<|end|>"),
    (f"{CHANNEL}analysis{MESSAGE}", "<|end|>"),
)
DROPPED = (
    f"{START}{CHANNEL}final{MESSAGE}",
    f"{CHANNEL}final{MESSAGE}",
    f"{START}{CHANNEL}commentary{MESSAGE}",
    f"{CHANNEL}commentary{MESSAGE}",
    f"{START}{MESSAGE}",
    *FRAME_ENDS,
)

_HEAD = re.compile(
    r"(?:<\|start\|>assistant)?\s*(?:<\|channel\|>\w+)?\s*to=(?:functions\.)?(?P<name>[^\s<]{1,256})\s*"
    r"(?:<\|channel\|>\w+)?\s*(?:(?:<\|constrain\|>)?\s*\w+)?\s*<\|message\|>"
)
# a header that the end of the text cuts off
_HEAD_BEGUN = re.compile(
    r"(?:<\|start\|>assistant)?\s*(?:<\|channel\|>\w+)?\s*to=[^\s<]{0,256}\s*(?:<\|channel\|>\w*)?\s*"
    r"(?:(?:<\|constrain\|>)?\s*\w*)?\s*(?:<[|a-z>]{0,12})?\Z"
)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    head = _HEAD.match(text, at)
    if head is None:
        rest = text[at : at + 600]
        if _HEAD_BEGUN.match(rest) is None:
            return None
        call = RawCall("", Body.arguments, rest, False, problems=(_cut(),))
        return Region(at, len(text), at, (call,), closed=False)
    body = skip_space(text, head.end())
    span = read_span(text, body, CLOSERS, (START,))
    problems = (span.problem,) if span.problem else ()
    fixes: list[Fix] = []
    end, closed = span.end, False
    if not problems:
        end = skip_extra_closers(text, end, fixes)
        end, closed = _close(text, end)
        if goes_on(text, skip_space(text, end)):
            problems = (Problem("", "ambiguous_end", "the arguments seem to go on behind their end"),)
    call = RawCall(head.group("name"), Body.arguments, span.text, span.closed, None, tuple(fixes), problems)
    return Region(at, end, head.end(), (call,), closed)


def _close(text: str, at: int) -> tuple[int, bool]:
    """Step over the closing marker, whole or cut off by the end of the text; `<|call|>` is a stop token
    that servers swallow.
    """
    after = skip_space(text, at)
    closer = match_literal(text, after, CLOSERS)
    if closer:
        return after + len(closer), True
    rest = text[after:].rstrip()
    cut = len(rest) < len(CALL_END) and CALL_END.startswith(rest)
    return (len(text) if cut else at), text.startswith(START, after)


def _cut() -> Problem:
    return Problem("", "truncated", "the text ends in the header of a call")


def render(calls: tuple[ToolCall, ...]) -> str:
    return "".join(
        f"{START}{CHANNEL}commentary to=functions.{one.name} <|constrain|>json{MESSAGE}"
        f"{one.arguments}{CALL_END}"
        for one in calls
    )
