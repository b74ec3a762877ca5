"""Finished texts under a grammar."""

from __future__ import annotations

import pytest

from engine.text_grammar import TextGrammar, UnusableGrammar
from tests.patches import NO_PATCHES, PATCH_GRAMMAR, PATCHES

PATCH = TextGrammar.of("lark", PATCH_GRAMMAR)
PHONE = TextGrammar.of("regex", r"[0-9]{3}-[0-9a/]+")
AMBIGUOUS = TextGrammar.of("lark", 'start: part+\npart: "x" | part part | part part part')

# the grammar, a text, and what its refusal says
REFUSED: list[tuple[TextGrammar, str, str]] = [
    (PHONE, "123", 'the text ends too early: "-" is due'),
    (PHONE, "123-4\n", r'"\n" stands in line 1, at character 6, where one of "/", "0", "1"'),
    (PHONE, "é", '"é" stands in line 1, at character 1'),
    (PATCH, PATCHES[0].replace("@@", "%%"), "stands in line 3, at character 1"),
    (PATCH, "", r'the text ends too early: "*** Begin Patch\n*** " is due'),
    (TextGrammar.of("lark", 'start: "a"'), "ab", "in line 1, at character 2, where the text must end"),
    (PHONE, "\ud800", "stands in line 1, at character 1"),
]
UNUSABLE: list[tuple[str, str, str]] = [
    ("lark", "start: nowhere", 'unknown name: "nowhere"'),
    ("lark", "", "Empty grammar"),
    ("lark", 'begin: "a"', "no start rule"),
    ("lark", "start: /a(?=b)/", "look-around"),
    ("lark", "start: T\nT: /a/ & /b/", "no text matches it"),
    ("lark", 'start: <|endoftext|> "x"', "special token"),
    ("lark", f'start: "{"a" * 100_000}"', "at most 100000 characters"),
    ("regex", "(", "unclosed group"),
]


@pytest.mark.parametrize("text", [*PATCHES])
def test_a_text_that_matches(text: str) -> None:
    assert PATCH.refusal(text) == ""


@pytest.mark.parametrize("name", NO_PATCHES)
def test_a_text_that_does_not(name: str) -> None:
    assert PATCH.refusal(NO_PATCHES[name])


@pytest.mark.parametrize(("grammar", "text", "said"), REFUSED)
def test_a_refusal_says_where_and_what_was_due(grammar: TextGrammar, text: str, said: str) -> None:
    assert said in grammar.refusal(text)


@pytest.mark.parametrize(("syntax", "definition", "said"), UNUSABLE)
def test_an_unusable_grammar(syntax: str, definition: str, said: str) -> None:
    with pytest.raises(UnusableGrammar, match=said):
        TextGrammar.of(syntax, definition)


def test_a_long_text_and_a_grammar_that_nobody_could_follow() -> None:
    lines = "".join(f"+line {n} of a long file\n" for n in range(4_000))
    assert PATCH.refusal(f"*** Begin Patch\n*** Add File: a\n{lines}*** End Patch") == ""
    assert AMBIGUOUS.refusal("x" * 20) == ""
    assert "too ambiguous to be followed further than in line 1" in AMBIGUOUS.refusal("x" * 3_000)
    assert AMBIGUOUS.refusal("x" * 20) == "", "what one text cost is not held against the next"
