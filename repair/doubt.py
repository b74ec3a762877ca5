"""Holds back streamed text from where it may be a call that no reading accepts, until its turn is judged.

What has left cannot be taken back: the client would see the markup of a call before the right one. Only when
text is sent is decided here; where the turn is no attempt, all of it is.
"""

from __future__ import annotations

import functools
import re

from repair.endings import MARKER, WORD_MARKER, begins_marker, fold

_QUOTES = "`'\"\u201c\u2018"
# a call's object, up to its arguments
_HEAD = (
    *(r"\[?", r"\s{0,9}", r"\{", r"\s{0,40}", '"', "n", "a", "m", "e", '"', r"\s{0,9}", ":", r"\s{0,9}", '"'),
    *(r"[\w.:/-]{0,128}", '"', r"\s{0,9}", ",", r"\s{0,40}", '"', "[ap]", "[ra]", "[gr]"),
)


def _begun(parts: tuple[str, ...]) -> str:
    """A pattern for any beginning of what the parts match together."""
    return functools.reduce(lambda rest, part: f"{part}(?:{rest})?", reversed(parts[:-1]), parts[-1])


# what may still become doubtful
_OPEN = re.compile(
    rf"(?:{_begun(_HEAD)}"
    r"|\[[/\w.]{0,64}(?: [a-z]{0,4})?"
    r"|<[|/\]\uff5c\u2016]{0,2}[\w:.|\uff5c\u2016\u2581-]{0,40}"
    r"|</?\w{1,12}(?: (?:n(?:a(?:m(?:e=?)?)?)?)?)?"
    r"|>{1,2}|>>>[\w./-]{0,64}\n?)\Z"
)
_DOUBTFUL = re.compile(
    "|".join(
        (
            MARKER,
            WORD_MARKER,
            r"</?\|?(?:\w{1,12}:)?(?:tool|function)s?[_ -]?(?:calls?|use)",
            r"\[/TOOL|\u273f",
            r"<\|\w[\w:. -]{0,40}\|?>|<\w[\w:.-]{0,40}\|>",  # a special token of whatever model
            r"<tool_sep|<function \w|\[calling \w|\bcall:[\w.-]{1,64}\{",
            r"</?(?:\w{1,12}[|:])?arg_(?:key|value)|<(?:\w{1,12}:)?param(?:eter)? name=",
            r"(?:\[\s{0,9})?" + "".join(_HEAD[2:]),
        )
    ),
    re.IGNORECASE,
)
# a call in Python; only at the beginning of a line
_IN_PYTHON = re.compile(r"\[[a-z_][\w.]{0,64}\(", re.IGNORECASE)
# what no prose begins with: the end of a marker, a name with a bracket or a tag behind it, a tag with a joint
_BEGINS = re.compile(
    r"[\s\ufeff]{0,40}(?:```\w{0,12}\n\s{0,9})?(?:"
    r">{1,3}[^\s>]|[=:\]}]\s?\S|[\w.:-]{2,64}(?:[\[{(<>]|\n<)|functions\.[\w.-]{1,64} <"
    r"|</?[\w:]{1,30}_\w{1,30}>|<\w{2,20} name=|\[[A-Z]{2,9}_[A-Z]{2,9}\])"
)
# what may still begin so: of words only those that are joined as names are, so that others leave at once
_BEGINS_OPEN = re.compile(
    r"[\s\ufeff]{0,40}(?:`{1,2}|```\w{0,12}(?:\n\s{0,9})?)?(?:"
    r">{1,3}|[=:\]}]\s?|(?:\w{0,31}_|\w{1,32}[.:]\w|[a-z]{1,32}[A-Z])[\w.:-]{0,64}[\n ]?"
    r"|<[/\w:]{0,60}(?: (?:n(?:a(?:me?)?)?)?)?|\[[A-Z_]{0,19})?\Z"
)
_FENCE = re.compile(r"```\w{0,12}\n\s{0,9}\Z")
_FIRST = re.compile(r"[<\[{\u273f]|>|to=f|functools")
_KEPT = 200  # characters after which nothing becomes doubtful any more


class Doubt:
    """The text of one attempt."""

    def __init__(self) -> None:
        self._held: list[str] = []
        self._last = ""  # the last character that was sent
        self._open = False
        self._begun = False  # whether it is known what the text begins with

    def feed(self, text: str) -> str:
        """What may be sent."""
        if self._open:
            self._held.append(text)
            return ""
        if self._begun and not self._held and _FIRST.search(text) is None:
            self._last = text[-1:] or self._last
            return text
        whole = "".join((*self._held, text))
        at = self._doubtful(whole) if self._begun else self._beginning(whole)
        fence = _FENCE.search(whole, max(0, at - 30), at) if at < len(whole) else None
        at = fence.start() if fence else at
        self._held = [whole[at:]] if at < len(whole) else []
        self._last = whole[at - 1 : at] or self._last
        return whole[:at]

    def _beginning(self, whole: str) -> int:
        """The same, of all of the text so far."""
        folded = fold(whole)
        self._open = _BEGINS.match(folded) is not None
        if self._open or _BEGINS_OPEN.match(folded):
            return 0
        self._begun = True
        return self._doubtful(whole)

    def _doubtful(self, whole: str) -> int:
        """Where what is held begins: a doubtful thing, or what may become one."""
        folded = fold(whole)
        for found in _DOUBTFUL.finditer(folded):
            if not self._is_quoted(whole, found.start()):
                self._open = True
                return found.start()
        for found in _FIRST.finditer(folded, max(0, len(whole) - _KEPT)):
            at = found.start()
            rest = folded[at:]
            if self._is_quoted(whole, at):
                continue
            if self._starts_line(whole, at) and _IN_PYTHON.match(rest):
                self._open = True
                return at
            if _OPEN.match(rest) or begins_marker(rest):
                return at
        return len(whole)

    def _is_quoted(self, whole: str, at: int) -> bool:
        before = whole[at - 1] if at else self._last
        return bool(before) and before in _QUOTES

    def _starts_line(self, whole: str, at: int) -> bool:
        return (whole[at - 1] if at else self._last or "\n") in "\n\ufeff"

    def close(self) -> str:
        """What was still held."""
        held, self._held = "".join(self._held), []
        return held
