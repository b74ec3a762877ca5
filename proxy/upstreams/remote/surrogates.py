"""Joins characters that a server has cut in two: one half of a pair in one piece of text, one in the next."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel

_SURROGATE = re.compile("[\ud800-\udfff]")
_HIGH = re.compile("[\ud800-\udbff]$")


def whole_characters(text: str) -> str:
    """The text with each pair of halves as one character; half a pair alone becomes U+FFFD."""
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def with_whole_characters(value: Any) -> Any:
    """A JSON value, with whole_characters() in each of its texts. Objects of LiteLLM's become such values."""
    match value:
        case str():
            return whole_characters(value)
        case list():
            return [with_whole_characters(one) for one in value]
        case dict():
            return {whole_characters(key): with_whole_characters(one) for key, one in value.items()}
        case BaseModel():
            return with_whole_characters(value.model_dump(mode="json", exclude_none=True))
        case _:
            return value


class TextJoiner:
    """Texts of one kind, in order. A half at the end of one waits for the next."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        if not self._half and text.isascii():
            return text
        text = self._half + text
        half = _HIGH.search(text)
        self._half = half[0] if half else ""
        return whole_characters(text[: half.start()] if half else text)

    def end(self) -> str:
        """What is still to be given out."""
        half, self._half = self._half, ""
        return whole_characters(half)
