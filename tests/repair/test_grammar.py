"""Grammars under llguidance itself, with the bundled model's tokenizer."""

from __future__ import annotations

import functools
import json
import random
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from tokenizers import Tokenizer

from repair.formats import FORMATS
from repair.grammar import Grammar, answer_grammar, tool_grammar
from repair.grammars.forms import FORMS
from repair.tools import ToolSet
from repair.turn import Outcome, Turn
from repair.types import ToolCall, ToolDefinition

FILE = Path(__file__).parents[2] / "engine" / "models" / "fortieth-tiny" / "tokenizer.json"
END = 2  # <|im_end|>
FORMATS_WITH_GRAMMAR = (*FORMS, "llama3", "bare_json", "bare_python", "harmony")
MESSAGES = ("llama3", "bare_json", "bare_python", "harmony")

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "deep": {
            "type": "object",
            "properties": {"on": {"type": "boolean"}, "note": {"type": "string"}},
            "required": ["on"],
            "additionalProperties": False,
        },
        "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
STOP = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = ToolSet.compile([ToolDefinition("get_weather", "", WEATHER), ToolDefinition("stop", "", STOP)])
HARD = (
    "plain",
    "",
    "two\nlines\n\n  and a third ",
    'def f(x):\n    return {"a": [1, x], \'b\': "c"}  # \\d+ \\\\ "q"\n',
    "<b>bold</b> & <script>x</script> ```json\n{}\n``` `code`",
    "Zürich, 東京, 🙂👩‍👩‍👧, עברית, \u00a0",
    '{"name": "stop", "arguments": {}}',
    "</think> <think> [TOOL_CALLS] <|tool_call_begin|> >>>all",
    'C:\\path\\new, 100%, it\'s, "quoted", a;b:c,d}]',
    "word " * 1500,
)


@functools.cache
def tokenizer(markers: bool) -> tuple[Tokenizer, LLTokenizer, dict[str, int]]:
    """The bundled model's; without its own tokens for markers, these are text as for most models."""
    source = json.loads(FILE.read_text(encoding="utf-8"))
    added = {one["content"]: one["id"] for one in source["added_tokens"]}
    size = 1 + max(added.values())
    if not markers:
        source["added_tokens"] = [one for one in source["added_tokens"] if one["special"]]
    text = json.dumps(source)
    return (
        Tokenizer.from_str(text),
        LLTokenizer(text, n_vocab=size, eos_token=[END]),
        added if markers else {},
    )


def matcher(grammar: Grammar | None, markers: bool = False) -> LLMatcher:
    assert grammar is not None
    limits = LLParserLimits(
        initial_lexer_fuel=20_000_000, max_grammar_size=2_000_000, max_items_in_row=10_000
    )
    result = LLMatcher(tokenizer(markers)[1], grammar.text, log_level=0, limits=limits)
    assert not result.is_error(), result.get_error()
    return result


def accepts(grammar: Grammar | None, text: str, markers: bool = False) -> bool:
    """Whether `text` may be written token by token, and the turn may end behind it."""
    held = matcher(grammar, markers)
    ids = tokenizer(markers)[0].encode(text, add_special_tokens=False).ids
    return all(held.consume_token(one) for one in ids) and held.is_accepting()


def written(format: str, *calls: ToolCall) -> str:
    """The calls as they follow the prompt."""
    text = FORMATS[format].render(calls)
    return text.removeprefix("<|start|>assistant") if format == "harmony" else text


def weather(rng: random.Random, text: str) -> ToolCall:
    arguments = {
        "city": text,
        **({"days": rng.randint(1, 9)} if rng.random() < 0.7 else {}),
        "unit": rng.choice(["celsius", "fahrenheit"]),
        **({"tags": [rng.choice(HARD), text][: rng.randint(0, 2)]} if rng.random() < 0.7 else {}),
        **({"deep": {"on": True, "note": text}} if rng.random() < 0.5 else {}),
        **({"limit": rng.choice([None, -7])} if rng.random() < 0.5 else {}),
    }
    return ToolCall("get_weather", json.dumps(arguments, ensure_ascii=False))


@pytest.mark.parametrize("markers", [False, True], ids=["text", "tokens"])
@pytest.mark.parametrize("format", FORMATS_WITH_GRAMMAR)
def test_a_rendered_call_is_accepted_token_by_token(format: str, markers: bool) -> None:
    tokens = tokenizer(markers)[2]
    grammar = tool_grammar(TOOLS, format, tokens=tokens)
    required = tool_grammar(TOOLS, format, required=True, tokens=tokens)
    rng = random.Random(format)
    for text in HARD:
        calls = [weather(rng, text), ToolCall("stop", "{}"), weather(rng, "x")][: rng.randint(1, 3)]
        found = written(format, *calls)
        said = "" if format in MESSAGES else "I will look.\n\n"
        assert accepts(grammar, said + found, markers), found
        assert accepts(required, found, markers), found


@pytest.mark.parametrize("format", ["qwen_xml", "seed", "glm"])
def test_a_closing_tag_that_no_structure_follows_is_text(format: str) -> None:
    text = "a </parameter> b </arg_value> c </function> d"
    call = ToolCall("get_weather", json.dumps({"city": text, "unit": "celsius"}))
    assert accepts(tool_grammar(TOOLS, format), written(format, call))


@functools.cache
def sharp(markers: bool) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tokens that are likely to end something: signs of one or two characters."""
    source = tokenizer(markers)[0]
    texts = [source.decode([id], skip_special_tokens=False) for id in range(2048)]
    return np.array([len(one) <= 2 and bool(one.strip()) and not one.isalnum() for one in texts])


_FUNCTION = ("\n</parameter>\n<parameter=", "\n</parameter>\n</function>\n")
ENDINGS = {
    "qwen_xml": _FUNCTION,
    "seed": _FUNCTION,
    "glm": ("</arg_value>\n<arg_key>", "</arg_value>\n</tool_call>"),
}


def walk(grammar: Grammar | None, rng: random.Random, markers: bool, endings: tuple[str, ...]) -> str | None:
    """What is written by drawing allowed tokens; None where that does not come to an end. Now and then the
    end of a value is tried, which nobody draws by chance.
    """
    held, source, ids = matcher(grammar, markers), tokenizer(markers)[0], list[int]()
    for _ in range(250):
        words = np.zeros(64, dtype=np.int32)
        held.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        allowed = np.unpackbits(words.view(np.uint8), bitorder="little").view(np.bool_)
        if allowed[END] and (allowed.sum() == 1 or rng.random() < 0.5):
            return str(source.decode(ids, skip_special_tokens=False))
        allowed[[0, 1, END]] = False
        ending = source.encode(rng.choice(endings or (" ",)), add_special_tokens=False).ids
        few = np.flatnonzero(allowed & sharp(markers)) if rng.random() < 0.6 else np.array([])
        drawn = [int(rng.choice(few if len(few) else np.flatnonzero(allowed)))]
        if rng.random() < 0.1 and held.validate_tokens(ending) == len(ending):
            drawn = ending
        for one in drawn:
            assert held.consume_token(one)
        ids += drawn
    return None


def read_turn(text: str, format: str) -> Outcome:
    turn = Turn(TOOLS, format)
    turn.feed("<|start|>assistant" + text if format == "harmony" else text)
    return turn.close("stop")


@pytest.mark.parametrize("markers", [False, True], ids=["text", "tokens"])
@pytest.mark.parametrize("format", FORMATS_WITH_GRAMMAR)
def test_what_is_drawn_from_a_grammar_is_a_valid_call(format: str, markers: bool) -> None:
    grammar = tool_grammar(TOOLS, format, required=True, tokens=tokenizer(markers)[2])
    rng = random.Random(format)
    endings = ENDINGS.get(format, ())
    found = (text for _ in range(200) if (text := walk(grammar, rng, markers, endings)) is not None)
    judged = ((text, read_turn(text, format)) for text in found)
    # the grammar leaves what stands around a call free, also where a quotation would look the same
    placed = (one for one in judged if [problem.rule for problem in one[1].problems] != ["misplaced_call"])
    drawn = list(islice(placed, 2))
    assert len(drawn) == 2
    for text, outcome in drawn:
        assert outcome.calls, (text, outcome.problems)
        assert not outcome.fixes, (text, outcome.fixes)


CALL = ToolCall("get_weather", '{"city": "Oslo", "unit": "celsius"}')
FINAL = "<|channel|>final<|message|>"


@pytest.mark.parametrize("format", FORMATS_WITH_GRAMMAR)
def test_prose_is_free_unless_a_call_is_required(format: str) -> None:
    prose = (FINAL if format == "harmony" else "") + "Nothing to call here; {x} <b>, [y].\n"
    assert accepts(tool_grammar(TOOLS, format), prose)
    assert not accepts(tool_grammar(TOOLS, format, required=True), prose)


@pytest.mark.parametrize("format", FORMATS_WITH_GRAMMAR)
@pytest.mark.parametrize(
    "call",
    [
        ToolCall("nothing", "{}"),
        ToolCall("get_weather", '{"city": "Oslo"}'),
        ToolCall("get_weather", '{"city": "Oslo", "unit": "kelvin"}'),
        ToolCall("get_weather", '{"city": "Oslo", "days": 10, "unit": "celsius"}'),
        ToolCall("get_weather", '{"city": "Oslo", "unit": "celsius", "limit": "many"}'),
    ],
)
def test_a_call_that_does_not_fit_cannot_be_written(format: str, call: ToolCall) -> None:
    assert accepts(tool_grammar(TOOLS, format), written(format, CALL))
    assert not accepts(tool_grammar(TOOLS, format), written(format, call))


@pytest.mark.parametrize("format", FORMATS_WITH_GRAMMAR)
def test_the_only_call_and_the_named_tool(format: str) -> None:
    two = written(format, CALL, ToolCall("stop", "{}"))
    assert accepts(tool_grammar(TOOLS, format), two)
    for required in (False, True):
        single = tool_grammar(TOOLS, format, required=required, parallel=False)
        assert accepts(single, written(format, CALL))
        assert not accepts(single, two)
        named = tool_grammar(TOOLS, format, required=required, tool_name="stop")
        assert accepts(named, written(format, ToolCall("stop", "{}")))
        assert not accepts(named, written(format, CALL))


def test_a_marker_in_the_reasoning_opens_no_call() -> None:
    call = written("hermes", CALL)
    thought = "so <tool_call>? no.</think>"
    for required in (False, True):
        grammar = tool_grammar(TOOLS, "hermes", required=required)
        assert accepts(grammar, "<think>" + thought + call)
        opened = tool_grammar(TOOLS, "hermes", required=required, open_reasoning="</think>")
        assert accepts(opened, thought + call)
        assert not accepts(grammar, thought + call)


def test_without_a_grammar() -> None:
    assert tool_grammar(TOOLS, "functionary") is None
    assert tool_grammar(TOOLS, "hermes", tool_name="nothing") is None
    assert tool_grammar(ToolSet.compile([]), "hermes") is None


FEATURES: dict[str, Any] = {
    "not": {"const": 3},
    "if": {"minimum": 3},
    "uniqueItems": True,
    "contains": {"type": "string"},
    "propertyNames": {"pattern": "^a"},
    "dependentRequired": {"a": ["b"]},
    "pattern": "^(?!x)",
    "format": "json-pointer",
    "maxLength": 1_000_000,
    "maxItems": 1_000_000,
}


@pytest.mark.parametrize("format", ["hermes", "qwen_xml", "llama4", "gemma4"])
@pytest.mark.parametrize("feature", FEATURES)
def test_what_cannot_be_constrained_is_told_and_the_rest_still_is(feature: str, format: str) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer", feature: FEATURES[feature]}},
        "required": ["a"],
    }
    grammar = tool_grammar(ToolSet.compile([ToolDefinition("f", "", schema)]), format)
    assert grammar is not None
    assert grammar.left_out == (f"f/properties/a: {feature}",)
    assert accepts(grammar, written(format, ToolCall("f", '{"a": 5}')))
    assert not accepts(grammar, written(format, ToolCall("f", '{"a": "x"}')))


@pytest.mark.parametrize("format", ["hermes", "qwen_xml", "llama4", "gemma4"])
@pytest.mark.parametrize(
    ("impossible", "left_out"),
    [
        ({"type": "string", "enum": [1]}, ["enum"]),
        ({"enum": []}, ["enum"]),
        ({"type": "integer", "minimum": 5, "maximum": 1}, ["minimum", "maximum"]),
        ({"type": "string", "minLength": 5, "maxLength": 2}, ["minLength", "maxLength"]),
        ({"type": "string", "pattern": "^a", "format": "date"}, ["format"]),
    ],
)
def test_one_impossible_schema_does_not_cost_the_grammar(
    impossible: dict[str, Any], left_out: list[str], format: str
) -> None:
    schema = {"type": "object", "properties": {"x": impossible}, "required": ["x"]}
    tools = ToolSet.compile([ToolDefinition("f", "", schema), ToolDefinition("get_weather", "", WEATHER)])
    grammar = tool_grammar(tools, format)
    assert grammar is not None
    assert set(grammar.left_out) >= {f"f/properties/x: {one}" for one in left_out}
    assert accepts(grammar, written(format, CALL))


SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "reference": (
        {
            "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
            "properties": {"a": {"$ref": "#/$defs/node"}},
        },
        '{"a": {"next": {"next": {}}}}',
    ),
    "tuple": ({"properties": {"a": {"type": "array", "items": [{"type": "integer"}]}}}, '{"a": [1]}'),
    "one of": (
        {"properties": {"a": {"oneOf": [{"type": "integer"}, {"type": "array", "items": {"type": "null"}}]}}},
        '{"a": [null]}',
    ),
    "true": ({"properties": {"a": True}}, '{"a": 1}'),
    "false": ({"properties": {"a": {"type": "integer"}, "b": False}}, '{"a": 1}'),
    "types": ({"properties": {"a": {"type": ["integer", "null"]}}}, '{"a": null}'),
    "nullable": ({"properties": {"a": {"type": "integer", "nullable": True}}}, '{"a": null}'),
    "strange key": ({"properties": {"a b/c~d": {"type": "object"}}}, '{"a b/c~d": {}}'),
    "undeclared but required": ({"required": ["a"]}, '{"a": 1}'),
}


@pytest.mark.parametrize("format", ["hermes", "qwen_xml", "glm", "llama4", "gemma4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_schema_has_a_grammar(shape: str, format: str) -> None:
    schema, arguments = SHAPES[shape]
    if shape == "strange key" and format == "llama4":
        pytest.skip("no Python argument has such a name")
    grammar = tool_grammar(ToolSet.compile([ToolDefinition("f", "", {"type": "object", **schema})]), format)
    assert accepts(grammar, written(format, ToolCall("f", arguments)))


@pytest.mark.parametrize("format", FORMATS_WITH_GRAMMAR)
def test_a_big_tool_set_has_a_grammar(format: str) -> None:
    tools = [ToolDefinition(f"get_weather_{number}", "", WEATHER) for number in range(128)]
    grammar = tool_grammar(ToolSet.compile(tools), format)
    assert accepts(grammar, written(format, ToolCall("get_weather_77", CALL.arguments)))


@pytest.mark.parametrize(
    ("schema", "text", "fits"),
    [
        (None, '{"a": [1, {"b": null}]}', True),
        (None, "[1]", False),
        (None, "words", False),
        (WEATHER, CALL.arguments, True),
        (WEATHER, '{"city":"Oslo","unit":"celsius"}', True),
        (WEATHER, '{"city": "Oslo"}', False),
        (WEATHER, '{"city":   "Oslo", "unit": "celsius"}', False),
        ({"type": "array", "items": {"type": "integer"}}, "[1, 2]", True),
        ({"type": "integer", "not": {"const": 3}}, "3", True),
    ],
)
def test_answers(schema: dict[str, Any] | None, text: str, fits: bool) -> None:
    assert accepts(answer_grammar(schema), text) == fits
    thinking = answer_grammar(schema, reasoning=("<think>", "</think>"))
    assert accepts(thinking, text) == fits
    assert accepts(thinking, "<think>hm {} </think>\n\n" + text) == fits
    opened = answer_grammar(schema, open_reasoning="</think>")
    assert accepts(opened, "hm {} </think>\n\n" + text) == fits


ANSWER = {
    "type": "object",
    "properties": {"size": {"enum": ["small", "large"]}, "why": {"type": "string"}},
    "required": ["size", "why"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("format", FORMATS_WITH_GRAMMAR)
def test_a_json_answer_beside_tools_is_the_answer_or_a_call(format: str) -> None:
    grammar = tool_grammar(TOOLS, format, json_answer=True, answer_schema=ANSWER)
    lead = "<|channel|>final<|message|>" if format == "harmony" else ""
    answer = json.dumps({"size": "small", "why": 'a "reason"\nand more'})
    assert accepts(grammar, lead + answer)
    assert accepts(grammar, written(format, weather(random.Random(1), "plain")))
    for wrong in ('{"size": "medium", "why": ""}', '{"size": "small"}', "small", answer + " as I said"):
        assert not accepts(grammar, lead + wrong)


def test_any_json_object_may_be_the_answer_beside_tools_and_none_where_a_call_is_required() -> None:
    loose = tool_grammar(TOOLS, "hermes", json_answer=True)
    assert accepts(loose, '{"any": [1, {"thing": null}]}')
    assert not accepts(loose, "[1]")
    forced = tool_grammar(TOOLS, "hermes", json_answer=True, required=True)
    assert not accepts(forced, '{"any": 1}')
    left = tool_grammar(TOOLS, "hermes", json_answer=True, answer_schema={**ANSWER, "minProperties": 1})
    assert left is not None
    assert left.left_out == ("the answer/: minProperties",)
