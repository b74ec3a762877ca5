"""Finds calls in a turn in which none may be made: no tools, or `tool_choice: none`.

Nothing is executed here. What is decided is whether the model is asked for an answer in words instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from repair.endings import ends_in_call, ends_in_marker, find_marker
from repair.tools import ToolSet

# The longest marker has fewer characters; so many characters of a line that may begin with one wait.
_MARKER_CHARS = 64
_START = re.compile(r"(?:^|(?<=\n))[ \t]{0,3}(?=[<\[{])")
_OBJECT = re.compile(r"\[?\s{0,9}\{\s{0,9}\"name\"\s{0,9}:")
_FENCE = "```"
_KEPT = 8  # characters kept of a line that was sent: whether it is blank, and the beginning of a fence


class Unasked:
    """One attempt's text.

    texts: those of the conversation. Where one writes markup of calls itself, the client has a protocol of
        its own or speaks of such markup, and nothing is held or judged.
    """

    def __init__(self, tools: ToolSet, texts: Callable[[], Iterable[str]], json_asked: bool) -> None:
        self._tools = tools
        self._texts = texts
        self._json_asked = json_asked
        self._line = ""  # the line that is being written, of the text that was sent
        self._fences = 0
        self._held: list[str] = []
        self._open = False  # a marker has come, and everything after it waits

    def feed(self, text: str) -> str:
        """What may be sent: everything but the text after a marker that begins a line, or after what may
        become one.
        """
        self._held.append(text)
        if self._open:
            return ""
        whole, gone = self._line + "".join(self._held), len(self._line)
        at = self._leaves_to(whole, gone)
        self._fences += whole.count(_FENCE, 0, at) - self._line.count(_FENCE)
        self._held = [whole[at:]]
        line = whole[whole.rfind("\n", 0, at) + 1 : at]
        self._line = line if len(line) <= _KEPT else f"-{line[-2:]}"
        return whole[gone:at]

    def _leaves_to(self, whole: str, gone: int) -> int:
        fences, counted = self._fences - self._line.count(_FENCE), 0
        for found in _START.finditer(whole):
            at = found.end()
            fences, counted = fences + whole.count(_FENCE, counted, at), at
            if at < gone or fences % 2:
                continue
            rest = whole[at : at + _MARKER_CHARS]
            bare = bool(self._tools) and not self._json_asked and _OBJECT.match(rest) is not None
            if bare or find_marker(rest):
                self._open = not self._is_protocol()
                return at if self._open else len(whole)
            if len(rest) < _MARKER_CHARS:
                return at
        return len(whole)

    def close(self) -> str:
        """What was still held."""
        held, self._held = "".join(self._held), []
        return held

    def wrote_call(self, text: str) -> bool:
        """Whether the attempt's whole text ends in the shape of a call."""
        found = (
            ends_in_call(text, self._tools, self._json_asked)
            if self._tools
            else not self._json_asked and ends_in_marker(text)
        )
        return found and not self._is_protocol()

    def _is_protocol(self) -> bool:
        return any(find_marker(text, anywhere=True) for text in self._texts())
