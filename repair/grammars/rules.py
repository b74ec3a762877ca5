"""Builds Lark text for llguidance.

Its syntax: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md. A marker that is a single
token of the model is written as that token, because text cannot match it; every other one is written as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from repair.types import TextRule

ANY = "/(?s:.*)/"
_MEANING = frozenset("\\.+*?()|[]{}^$/&~-#")


@dataclass(slots=True)
class Rules:
    """A grammar in the making. tokens: marker -> its id, where it is one token of the vocabulary. texts: by
    tool and argument, what texts must match beyond their schema.
    """

    tokens: Mapping[str, int]
    texts: Mapping[tuple[str, str], TextRule] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _count: int = 0
    _forcing: bool = True

    def add(self, body: str, kind: str = "r") -> str:
        """Adds a rule; returns its name."""
        self._count += 1
        name = f"{kind}{self._count}"
        self.lines.append(f"{name}: {body}")
        return name

    def terminal(self, body: str) -> str:
        return self.add(body, "T")

    def json(self, schema: Mapping[str, Any]) -> str:
        text = json.dumps(schema, ensure_ascii=False)
        self._note_markers(text)
        return self.add(f"%json {text}")

    def nested(self, lark: str) -> str:
        """A whole grammar with names of its own, as a rule of this one."""
        self._note_markers(lark)
        return self.add(f"%lark {{\n{lark}\n}}")

    def parts(self, text: str, markers: Collection[str] | None = None) -> list[str | int]:
        """`text` as pieces of text and tokens. markers: those that are tokens in it; None: all."""
        known = self.tokens if markers is None else [one for one in markers if one in self.tokens]
        if not known:
            return [text] if text else []
        ordered = sorted(known, key=len, reverse=True)
        pieces = re.split("(" + "|".join(map(re.escape, ordered)) + ")", text)
        return [self.tokens.get(one, one) for one in pieces if one]

    def literal(self, text: str, markers: Collection[str] | None = None) -> str:
        """`text` itself, as an expression. markers: as in parts()."""
        if markers is not None:
            self._note_markers(text)
        return " ".join(_written(one) for one in self.parts(text, markers)) or '""'

    def data(self, text: str) -> str:
        """A name or a value: text, even where it is spelled like a marker."""
        return self.literal(text, ())

    def until(self, text: str, before: str = ANY) -> str:
        """A rule for any text up to the first `text`, and that. before: what may precede it."""
        first, *rest = self.parts(text)
        if isinstance(first, int):
            head = f"{before} {_written(first)}"
        else:
            name = self.add("", "u")
            self.lines[-1] = f"{name}[lazy]: {before} {_written(first)}"
            head = name
        return self.add(" ".join((head, *(_written(one) for one in rest))))

    def _note_markers(self, data: str) -> None:
        """Notes the markers that data spells. Text that can continue in only one way is written in the tokens
        that the tokenizer has for it, which for such data would be the marker.
        """
        self._forcing = self._forcing and not any(one in data for one in self.tokens)

    def text(self, start: str) -> str:
        options = "{}" if self._forcing else '{"no_forcing": true}'
        return "\n".join((f"%llguidance {options}", f"start: {start}", *self.lines, ""))


def _written(part: str | int) -> str:
    return f"<[{part}]>" if isinstance(part, int) else json.dumps(part, ensure_ascii=False)


def one_of(names: list[str]) -> str:
    """An expression for any of them."""
    return names[0] if len(names) == 1 else "(" + " | ".join(names) + ")"


def regex(text: str) -> str:
    """`text` itself, for the inside of a regular expression between slashes."""
    return "".join("\\" + char if char in _MEANING else char for char in text).replace("\n", "\\n")
