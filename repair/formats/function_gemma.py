"""FunctionGemma: as Gemma 4, with other markers and `<escape>` as the quoting token.

<start_function_call>call:f{k:<escape>v<escape>}<end_function_call>
"""

from __future__ import annotations

from repair.formats.gemma4 import CALL, parse_call, render_arguments
from repair.gemma import Quotes
from repair.regions import Region
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "function_gemma"
OPEN, CLOSE = "<start_function_call>", "<end_function_call>"
OPENERS = (OPEN,)
CLOSERS = (CLOSE,)
REASONING: tuple[tuple[str, str], ...] = ()
QUOTES = Quotes("<escape>")


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    return parse_call(text, at, OPEN, (CLOSE,), QUOTES, tools)


def render(calls: tuple[ToolCall, ...]) -> str:
    return "".join(f"{OPEN}{CALL}{one.name}{render_arguments(one, QUOTES)}{CLOSE}" for one in calls)
