"""Texts with a grammar of their own: judged by the ladder, and spliced into the grammar of a call."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from engine.text_grammar import TextGrammar
from repair.formats import FORMATS
from repair.grammar import Grammar, tool_grammar
from repair.grammars.lark import bounded, escaped
from repair.grammars.regexes import BeyondRewriting
from repair.grammars.texts import json_character
from repair.jsonl import repair_arguments
from repair.reask import correction
from repair.split_turn import sound_call
from repair.tools import SchemaError, ToolSet
from repair.turn import Turn
from repair.types import Accepted, Rejected, ToolCall, ToolDefinition, Verdict
from repair.valid_arguments import right_arguments
from tests.patches import NO_PATCHES, PATCH_GRAMMAR, PATCHES
from tests.repair.test_grammar import FORMATS_WITH_GRAMMAR, accepts, tokenizer, written

PATCH = TextGrammar.of("lark", PATCH_GRAMMAR)
ONE_TEXT: dict[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
SEVERAL: dict[str, Any] = {
    "type": "object",
    "properties": {"patch": {"type": "string"}, "dry": {"type": "boolean"}},
    "required": ["patch"],
}
TOOLS = ToolSet.compile(
    [
        ToolDefinition("apply_patch", "", ONE_TEXT, texts={"input": PATCH}),
        ToolDefinition("try_patch", "", SEVERAL, texts={"patch": PATCH}),
        ToolDefinition("echo", "", ONE_TEXT),
    ]
)
# Their values end at text that a line of a patch may hold, so that no grammar can say where they end.
UNBOUNDED = ("ifm", "iquest", "iquest_coder", "telechat", "glm", "gemma4", "function_gemma")


def patch_call(text: str) -> ToolCall:
    return ToolCall("apply_patch", json.dumps({"input": text}, ensure_ascii=False))


@pytest.mark.parametrize("text", PATCHES)
def test_a_text_that_matches_passes_byte_for_byte(text: str) -> None:
    arguments = patch_call(text).arguments
    assert repair_arguments("apply_patch", arguments, TOOLS) == Accepted(ToolCall("apply_patch", arguments))


@pytest.mark.parametrize("name", NO_PATCHES)
def test_a_text_that_breaks_its_grammar_is_refused(name: str) -> None:
    call = patch_call(NO_PATCHES[name])
    outcome = repair_arguments(call.name, call.arguments, TOOLS)
    assert isinstance(outcome, Rejected)
    (problem,) = outcome.problems
    assert (problem.path, problem.rule) == ("/input", "grammar")
    assert problem.message in correction(outcome.problems, TOOLS, "apply_patch")
    assert isinstance(repair_arguments("echo", call.arguments, TOOLS), Accepted)
    assert sound_call(call, TOOLS) is None, "no one else would notice"


def test_what_had_to_be_repaired_is_judged_too() -> None:
    broken = "{'input': '*** Begin'}"
    assert isinstance(repair_arguments("apply_patch", broken, TOOLS), Rejected)
    assert isinstance(repair_arguments("echo", broken, TOOLS), Accepted)


def test_only_arguments_that_match_are_kept_for_the_next_attempt() -> None:
    good = ToolCall("try_patch", json.dumps({"patch": PATCHES[0], "dry": "x"}))
    bad = ToolCall("try_patch", json.dumps({"patch": "?", "dry": True}))
    assert right_arguments(good, TOOLS, ()) == {"patch": PATCHES[0]}
    assert right_arguments(bad, TOOLS, ()) == {"dry": True}


def test_one_name_for_two_grammars() -> None:
    other = TextGrammar.of("lark", 'start: "a"')
    same = [ToolDefinition("f", "", ONE_TEXT, texts={"input": one}) for one in (PATCH, other, PATCH)]
    assert len(ToolSet.compile([same[0], same[2]])) == 1
    with pytest.raises(SchemaError, match="declared twice"):
        ToolSet.compile(same)


def grammar(format: str, markers: bool = False) -> Grammar | None:
    return tool_grammar(TOOLS, format, tool_name="apply_patch", tokens=tokenizer(markers)[2])


@pytest.mark.parametrize("markers", [False, True], ids=["text", "tokens"])
@pytest.mark.parametrize("format", FORMATS_WITH_GRAMMAR)
def test_a_call_is_held_to_the_grammar_of_its_text(format: str, markers: bool) -> None:
    held = grammar(format, markers)
    assert held is not None
    for text in PATCHES:
        assert accepts(held, written(format, patch_call(text)), markers), text
    wrong = {name: written(format, patch_call(text)) for name, text in NO_PATCHES.items()}
    let = [name for name, text in wrong.items() if accepts(held, text, markers)]
    if format in UNBOUNDED:
        assert held.left_out == ('apply_patch/properties/input: grammar with a regex that may match "<"',)
    else:
        assert (let, held.left_out) == ([], ())


@pytest.mark.parametrize("format", ["hermes", "llama4", "qwen_xml", "glm"])
def test_what_the_grammar_lets_through_is_what_the_reader_judges(format: str) -> None:
    for text in (*PATCHES, *NO_PATCHES.values()):
        turn = Turn(TOOLS, format)
        turn.feed(FORMATS[format].render((patch_call(text),)))
        outcome = turn.close("stop")
        right = PATCH.refusal(text) == ""
        assert (outcome.verdict is not Verdict.reask) == right, text


def test_a_value_that_was_right_stays_as_it_is() -> None:
    settled = {**ONE_TEXT, "properties": {"input": {"const": PATCHES[0]}}}
    tools = ToolSet.compile([ToolDefinition("apply_patch", "", settled, texts={"input": PATCH})])
    held = tool_grammar(tools, "hermes")
    assert accepts(held, written("hermes", patch_call(PATCHES[0])))
    assert not accepts(held, written("hermes", patch_call(PATCHES[1])))


# a grammar, texts of it, and others
REWRITTEN: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
    ('start: "a\\"b\\n"', ('a"b\n',), ("a", 'a"b')),
    ('start: /[^x]{2,3}/ "x"?', ('""', "\n\\\t", "abcx"), ("x", "\n", "abcd")),
    ("start: /(a|b\\n)+c*/", ("a", "b\nab\ncc"), ("b", "c", "b\\n")),
    ("start: /(?s:.*)end/", ("end", "a\nbend", "en endend"), ("", "en", "ende")),
    ("start: /.+/s", ("a\nb\\", '"'), ("",)),
    ("start: /\\s\\S\\d/", ("\ta1", ' "1'), ("aa1", "\ta")),
    ("start: /[\\r\\n]+x?/", ("\r\n", "\nx"), ("x", "")),
    ("start: /A[^B]/i", ("a\n", "A\\"), ("ab", "aB")),
    ('start: "Key"i "=" VALUE\nVALUE: "\\"" /[^"]*/ "\\""', ('key=""', 'KEY="a\nb"'), ('key="a', 'kex=""')),
    ('start: ("a".."c")~2..3', ("ab", "abc"), ("a", "ad", "abca")),
    ('start: A{2} B? [C]\nA: /\\t/\nB: /b*?/\nC: "c"', ("\t\t", "\t\tbbc"), ("\t",)),
    ("%import common.INT\n%import common (WS, NEWLINE)\nstart: INT WS INT NEWLINE", ("1 \n2\r\n",), ("1 2",)),
    ("%import common.LF -> BREAK\nstart: line+\nline: /[a-z]+/ BREAK", ("a\nb\n",), ("a", "a\n\n")),
    ("start: /[\\/]\\/\\./ // a comment /x/", ("//.",), ("//x",)),
    ('start: /"[^"]*"/ | /\\(.*\\) # b/', ('""', '"a\nb"', "(a) b) # b"), ('"', '"a', "(a)")),
]
BEYOND = [
    'start: "a" & /b/ | "c"\nT: /a/ & /b/',
    "start: T\nT: ~/a/",
    'start: <[5]> "a"',
    'start: %json {"type": "string"}',
    'start: %regex {"substring_words": "a b"}',
    "start: /\\p{L}+/",
    "start: /[a-z&&[^b]]/",
    "start: /[[:alpha:]]/",
    "start: /\\bword/",
    "start: /a/m",
    "start: /(?x: a )/",
    "start: /a{2}{3}/",
    'start: "a"+\n%ignore /\\s/',
    "%import common.ESCAPED_STRING\nstart: ESCAPED_STRING",
]


@pytest.mark.parametrize(("lark", "right", "wrong"), REWRITTEN)
def test_a_grammar_rewritten_for_text_between_quotes(
    lark: str, right: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    within = TextGrammar.of("lark", escaped(lark, json_character))
    for text in right:
        assert within.refusal(json.dumps(text)[1:-1]) == "", text
    for text in wrong:
        assert within.refusal(json.dumps(text)[1:-1]), text


@pytest.mark.parametrize("lark", BEYOND)
def test_what_cannot_be_rewritten_is_left_to_validation(lark: str) -> None:
    with pytest.raises(BeyondRewriting):
        escaped(lark, json_character)
    tools = ToolSet.compile([ToolDefinition("f", "", ONE_TEXT, texts={"input": TextGrammar(lark)})])
    held = tool_grammar(tools, "hermes")
    assert held is not None
    assert [one.partition(" with ")[0] for one in held.left_out] == ["f/properties/input: grammar"]
    assert accepts(held, written("hermes", ToolCall("f", '{"input": "anything"}')))


def test_any_character_may_stand_in_a_rewritten_text() -> None:
    within = TextGrammar.of("lark", escaped("start: /(?s:.*)/", json_character))
    line = TextGrammar.of("lark", escaped("start: /[^\\n]*/", json_character))
    for code in (*range(0x20, 0x100), 0x2028, 0x1F642):
        assert within.refusal(json_character(chr(code)) * 2) == "", hex(code)
    for code in range(0x20):
        assert within.refusal(json_character(chr(code))) == "", hex(code)
        assert (line.refusal(json_character(chr(code))) == "") == (chr(code) != "\n"), hex(code)
    for raw in ('"', "\\", "\n", "\\x"):
        assert within.refusal(raw), "that would not be JSON"


def test_random_regexes_match_the_same_texts_rewritten() -> None:
    rng = random.Random(7)
    atoms = ["a", "b", "\\n", '"', "\\\\", ".", "[^a]", "[\\n\\t]", "\\s", "(a|\\n)", '(?:"b|c)', "(?s:.)"]
    matched = 0
    for _ in range(150):
        body = "".join(rng.choice(atoms) + rng.choice(["", "", "*", "+", "?", "{1,2}"]) for _ in range(3))
        within = TextGrammar.of("lark", escaped(f"start: /{body}/", json_character))
        for _ in range(12):
            text = "".join(rng.choice('ab\n\t"\\c') for _ in range(rng.randint(0, 5)))
            right = re.fullmatch(body, text) is not None
            assert (within.refusal(json.dumps(text)[1:-1]) == "") == right, (body, text)
            matched += right
    assert matched > 100


BOUNDED = {
    "start: /.*/ LF?\nLF: /\\n/": True,
    "start: /(\\r?\\n)/": True,
    'start: "\\n\\n" /a+/': True,
    "start: /(?s:.*)/": False,
    "start: /\\n+/": False,
    "start: /[^a]*/": False,
    "%import common.WS\nstart: WS": False,
    "%ignore /\\s+/\nstart: /a/": False,
    "%ignore / +/\nstart: /a/": True,
}


@pytest.mark.parametrize("lark", BOUNDED)
def test_a_raw_text_must_not_run_on_into_its_end(lark: str) -> None:
    if BOUNDED[lark]:
        TextGrammar.of("lark", bounded(lark, "\n</parameter>"))
        return
    with pytest.raises(BeyondRewriting, match="may match"):
        bounded(lark, "\n</parameter>")
    assert bounded(lark, ""), "a token of its own ends it"
