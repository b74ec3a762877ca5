"""What is no call, but was meant as one: markers so broken that no format reads them, and loops.

Such a turn is re-asked, never executed; a wrong guess costs one more attempt.
"""

from __future__ import annotations

import re

from repair.limits import LIMITS
from repair.tools import ToolSet
from repair.types import Problem

_BROKEN_MARKER = re.compile(
    r"\s{0,20}(?:<[|/\uff5c]?[\w:|\uff5c\u2581 -]{0,30}?|\[|)"
    r"(?:(?:tool|function)s?[\s_\u2581-]{0,2}(?:call|use|sep)|invoke[ =])",
    re.IGNORECASE,
)


def find_attempt(beginning: str, tools: ToolSet) -> Problem | None:
    """Whether a message that begins so is a broken call: markup of a call first, a declared tool in it."""
    if _BROKEN_MARKER.match(beginning) is None:
        return None
    words = set(re.findall(r"[\w.-]+", beginning[: LIMITS.attempt_chars]))
    if not words.intersection(tools.names):
        return None
    return Problem("", "broken_markers", "the text begins like a tool call, but its markers cannot be read")


def count_repeats(preceding: list[tuple[str, str]], call: tuple[str, str]) -> int:
    """How many of the last calls in a row equal `call`; each is a name and canonical arguments."""
    count = 0
    for earlier in reversed(preceding):
        if earlier != call:
            break
        count += 1
    return count
