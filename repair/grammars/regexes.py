"""Rewrites regular expressions of a client's grammar as rules for the same texts with their escapes.

The syntax is what Rust's and Python's have in common.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from repair.grammars.rules import regex

Write = Callable[[str], str]
"""How a character is written between the quotes of a format."""

_ATOM = re.compile(
    r"(?P<escape>\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[^xuUpPbBAzZ<>0-9]|[dDsSwW]))"
    r"|(?P<set>\[\^?\]?(?:\\[^pP]|[^\]\\\[])*\])"
    r"|(?P<group>\((?:\?P?<\w+>|\?(?P<flags>[is]*):|(?!\?)))"
    r"|(?P<close>\))"
    r"|(?P<operator>[|*+?^$]|\{[0-9]*,?[0-9]*\})"
    r"|(?P<any>\.)"
    r"|(?P<char>[^\\\[\]()])",
    re.DOTALL,
)
_SETS = re.compile(r"&&|--|~~|\\[xuU]\{")


class BeyondRewriting(ValueError):
    """What of a grammar cannot be rewritten; validation still judges the text."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a regular expression. atom: it matches one character, under these flags. char: one in
    particular.
    """

    text: str
    atom: bool = False
    flags: str = ""
    char: bool = False

    def matches(self, char: str) -> bool:
        if not self.atom:
            return False
        ignored = re.IGNORECASE if "i" in self.flags else re.NOFLAG
        dot = re.DOTALL if "s" in self.flags else re.NOFLAG
        try:
            return re.fullmatch(self.text, char, ignored | dot | re.ASCII) is not None
        except re.error as error:
            raise BeyondRewriting(f"regex {self.text}") from error

    @property
    def alone(self) -> str:
        """With its flags."""
        return f"(?{self.flags}:{self.text})" if self.flags else self.text


def regex_pieces(pattern: str, flags: str) -> Iterator[Piece]:
    """Raises BeyondRewriting for what only one of the two syntaxes has, and for what needs a context."""
    if set(flags) - set("is"):
        raise BeyondRewriting(f"flags {flags}")
    scopes = [flags]
    at = 0
    while at < len(pattern):
        found = _ATOM.match(pattern, at)
        if found is None:
            raise BeyondRewriting(f"regex {pattern[at : at + 20]}")
        text, kind, at = found.group(), found.lastgroup, found.end()
        match kind:
            case "group" | "flags":
                scopes.append(scopes[-1] + (found.group("flags") or ""))
                yield Piece("(")
            case "close":
                scopes.pop()
                if not scopes:
                    raise BeyondRewriting(f"regex {pattern}")
                yield Piece(text)
            case "operator":
                yield Piece(text)
            case _:
                if kind == "set" and _SETS.search(text):
                    raise BeyondRewriting(f"regex {text}")
                char = kind == "char" or (kind == "escape" and text[1] not in "dDsSwW")
                yield Piece(text, True, "".join(sorted(set(scopes[-1]))), char)


@dataclass(frozen=True, slots=True)
class Term:
    """An atom, or a group of alternatives. times: its quantifiers."""

    atom: Piece | None = None
    group: tuple[tuple[Term, ...], ...] = ()
    times: str = ""

    @property
    def atoms(self) -> Iterator[Piece]:
        if self.atom is not None:
            yield self.atom
        for option in self.group:
            for part in option:
                yield from part.atoms

    @property
    def text(self) -> str:
        if self.atom is not None:
            return self.atom.alone + self.times
        return f"(?:{'|'.join(''.join(part.text for part in one) for one in self.group)}){self.times}"


def parse_regex(pattern: str, flags: str) -> tuple[tuple[Term, ...], ...]:
    """Its alternatives. Raises BeyondRewriting."""
    reader = _RegexReader(list(regex_pieces(pattern, flags)))
    options = reader.options()
    if reader.at < len(reader.pieces):
        raise BeyondRewriting(f"regex {pattern}")
    return options


@dataclass(slots=True)
class _RegexReader:
    pieces: Sequence[Piece]
    at: int = field(default=0)

    def options(self) -> tuple[tuple[Term, ...], ...]:
        found = [self._sequence()]
        while self.at < len(self.pieces) and self.pieces[self.at].text == "|" and not self._atom:
            self.at += 1
            found.append(self._sequence())
        return tuple(found)

    @property
    def _atom(self) -> bool:
        return self.pieces[self.at].atom

    def _sequence(self) -> tuple[Term, ...]:
        parts: list[Term] = []
        while self.at < len(self.pieces):
            piece = self.pieces[self.at]
            if not piece.atom and piece.text in ("|", ")"):
                break
            self.at += 1
            if piece.atom:
                part = Term(piece)
            elif piece.text == "(":
                part = Term(group=self.options())
                self.at += 1  # its closing bracket
            else:
                raise BeyondRewriting(f"regex with {piece.text} there")
            parts.append(self._quantified(part))
        return tuple(parts)

    def _quantified(self, part: Term) -> Term:
        times: list[str] = []
        while self.at < len(self.pieces) and not self._atom and self.pieces[self.at].text[0] in "*+?{":
            times.append(self.pieces[self.at].text)
            self.at += 1
        if times[1:] not in ([], ["?"]):  # a lazy one matches the same texts
            raise BeyondRewriting(f"regex with {''.join(times)}")
        return Term(part.atom, part.group, times[0] if times else "")


@dataclass(frozen=True, slots=True)
class Escaping:
    """special: the characters that `write` writes otherwise."""

    special: Sequence[str]
    write: Write

    def regex(self, options: Sequence[Sequence[Term]]) -> str:
        """An expression of Lark for the same texts with their escapes."""
        return self._alternatives(options, self._cuts(options, True))

    def _cuts(self, options: Sequence[Sequence[Term]], last: bool) -> bool:
        """Whether every run of characters ends where an escape stands, or the whole expression ends (last:
        these are what it ends with). Then a run may be one terminal, which takes all that it can.
        """
        for parts in options:
            for part, following in zip(parts, (*parts[1:], None), strict=True):
                cut = last if following is None else self._is_escape(following)
                if part.atom is None and not self._cuts(part.group, cut and not part.times):
                    return False
                run = part.atom is not None and part.times and not part.atom.char
                if run and part.atom and self._found(part.atom) and not cut:
                    return False
        return True

    def _is_escape(self, part: Term) -> bool:
        return part.atom is not None and part.atom.char and not part.times and bool(self._found(part.atom))

    def _alternatives(self, options: Sequence[Sequence[Term]], runs: bool) -> str:
        return "(" + " | ".join(self._sequence(parts, runs) for parts in options) + ")"

    def _sequence(self, parts: Sequence[Term], runs: bool) -> str:
        told: list[str] = []
        plain = ""  # what has no escapes stays one terminal
        for part in parts:
            if runs and not any(self._found(atom) for atom in part.atoms):
                plain += part.text
                continue
            told += [f"/{plain}/"] if plain else []
            plain = ""
            told.append(self._part(part, runs))
        told += [f"/{plain}/"] if plain else []
        return " ".join(told) or '""'

    def _part(self, part: Term, runs: bool) -> str:
        if part.atom is None:
            return self._alternatives(part.group, runs) + part.times
        found = self._found(part.atom)
        written = "|".join(regex(self.write(char)) for char in found)
        if not found:
            return f"/{part.atom.alone}/{part.times}"
        if part.atom.char:
            return f"(/{written}/){part.times}"
        run = "+" if runs and part.times in ("*", "+") else ""
        return f"(/{self._plain(part.atom)}{run}/ | /{written}/){part.times}"

    def _found(self, atom: Piece) -> list[str]:
        return [char for char in self.special if atom.matches(char)]

    def _plain(self, atom: Piece) -> str:
        """The atom without the characters that have an escape."""
        listed = "".join(f"\\x{ord(char):02x}" for char in self.special)
        if atom.text == ".":
            return f"[^{listed}]" if "s" in atom.flags else f"[^{listed}\\n]"
        return f"(?i:[{atom.text}&&[^{listed}]])" if "i" in atom.flags else f"[{atom.text}&&[^{listed}]]"
