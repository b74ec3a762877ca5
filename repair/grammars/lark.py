"""A client's own Lark grammar inside a call: the same texts as the wire format writes them.

Where a format writes a text between quotes, the grammar is rewritten (`escaped`): a terminal becomes a rule
that cuts before each character with an escape, since the escapes of all characters begin alike, and a lexer,
which never goes back, could not tell where one terminal ends and the next begins. Where a format writes it
raw, the grammar stays as it is, unless one of its terminals could run on into what ends the text (`bounded`).
Syntax: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from repair.grammars.regexes import BeyondRewriting, Escaping, Write, parse_regex, regex_pieces
from repair.grammars.rules import regex

_TOKEN = re.compile(
    r"""(?P<skip>[ \t]+|(?:\#|//)[^\n]*)
    |(?P<range>"(?:\\.[^"]{0,4}|[^"\\\n])"\s*\.\.\s*"(?:\\.[^"]{0,4}|[^"\\\n])")
    |(?P<string>"(?:\\.|[^"\\\n])*"i?)
    |(?P<regex>/(?:\\[\s\S]|[^/\\])+/[a-z]*)
    |(?P<import>%import[ \t]+common[ \t]*(?:\.[ \t]*\w+(?:[ \t]*->[ \t]*\w+)?|\([\w\s,]+\)))
    |(?P<ignore>%ignore)
    |(?P<beyond>%\w+|<[^<>\s]+>|@[\w-]+|~(?!\s*[0-9])|\bnull\b)
    |(?P<name>[?!]?_?[A-Za-z][\w-]*)
    |(?P<other>[\s\S])""",
    re.VERBOSE,
)
# Terminals of Lark's common library that match none of the characters a format escapes, and some that do.
_PLAIN = frozenset(
    "DIGIT HEXDIGIT INT SIGNED_INT DECIMAL FLOAT SIGNED_FLOAT NUMBER SIGNED_NUMBER LCASE_LETTER UCASE_LETTER "
    "LETTER WORD CNAME".split()
)
_COMMON = {
    "LF": r"\n",
    "CR": r"\r",
    "NEWLINE": r"(\r?\n)+",
    "WS": r"[ \t\f\r\n]+",
    "WS_INLINE": r"[ \t]+",
}
_TERMINAL = re.compile(r"_?[A-Z][_A-Z0-9-]*")
_ASCII = tuple(map(chr, range(128)))


def escaped(lark: str, write: Write) -> str:
    """The grammar of the same texts as they stand between quotes. Raises BeyondRewriting."""
    special = tuple(char for char in _ASCII if write(char) != char)

    def leaf(pattern: str, flags: str) -> str:
        return Escaping(special, write).regex(parse_regex(pattern, flags))

    def string(text: str) -> str:
        return json.dumps("".join(map(write, text)), ensure_ascii=False)

    if "&" in _TOKEN.sub(lambda found: found.group() if found.lastgroup == "other" else "", lark):
        raise BeyondRewriting("&")
    return "".join(_tokens(lark, string, leaf, _as_rule))


def bounded(lark: str, end: str) -> str:
    """The grammar itself, for a text that ends where `end` begins. Raises BeyondRewriting where a regular
    expression of it could run on into that; into "" none can.
    """
    first = end[:1]

    def leaf(pattern: str, flags: str) -> str:
        pieces = list(regex_pieces(pattern, flags))
        hit = [at for at, one in enumerate(pieces) if first and one.matches(first)]
        behind = {one.text for one in pieces[hit[0] + 1 :]} if hit else set()
        if len(hit) > 1 or (hit and not (pieces[hit[0]].char and behind <= {")"})):
            raise BeyondRewriting(f"a regex that may match {json.dumps(first)}")
        return f"/{pattern}/{flags}"

    def string(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    return "".join(_tokens(lark, string, leaf, lambda name: name))


def _as_rule(name: str) -> str:
    """A terminal's name as that of a rule."""
    return f"of_{name.lower()}" if _TERMINAL.fullmatch(name) else name


def _tokens(
    lark: str, string: Callable[[str], str], leaf: Callable[[str, str], str], name: Callable[[str], str]
) -> Iterator[str]:
    """The grammar with every string, regular expression and name as these give it."""
    for found in _TOKEN.finditer(lark):
        text = found.group()
        match found.lastgroup:
            case "skip":
                yield " "
            case "string":
                if text.endswith("i"):
                    yield leaf(regex(_decoded(text[:-1])), "i")
                else:
                    yield string(_decoded(text))
            case "range":
                least, most = (regex(_decoded(one)) for one in re.findall(r'"(?:\\.|[^"\\])+"', text))
                yield leaf(f"[{least}-{most}]", "")
            case "regex":
                body, _, flags = text[1:].rpartition("/")
                yield leaf(body, flags)
            case "import":
                yield from _imported(text, leaf, name)
            case "ignore" if name("A") != "A":
                raise BeyondRewriting(text)  # only terminals can be ignored
            case "beyond":
                raise BeyondRewriting(text)
            case "name":
                yield name(text)
            case _:
                yield text


def _decoded(text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BeyondRewriting(text) from error
    return str(value)


def _imported(text: str, leaf: Callable[[str, str], str], name: Callable[[str], str]) -> Iterator[str]:
    names = re.findall(r"\w+", text.partition("common")[2])
    alias = names[-1] if "->" in text else ""
    for one in names[: 1 if alias else None]:
        own = name(alias or one)
        if one in _COMMON:
            yield f"{own}: {leaf(_COMMON[one], '')}\n"
        elif one in _PLAIN:
            yield f"%import common.{one}\n"
            yield f"{own}: {one}\n" if own != one else ""
        else:
            raise BeyondRewriting(f"common.{one}")
