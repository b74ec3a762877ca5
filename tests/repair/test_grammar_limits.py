"""What a grammar keeps out of a turn: anything behind its only call, broken characters, markers as values."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from llguidance import LLMatcher

from engine.detokenize import Detokenizers
from repair.grammar import Grammar, tool_grammar
from repair.tools import ToolSet
from repair.turn import Turn
from repair.types import ToolCall, ToolDefinition
from tests.repair.test_grammar import (
    CALL,
    END,
    FORMATS_WITH_GRAMMAR,
    MESSAGES,
    TOOLS,
    accepts,
    matcher,
    tokenizer,
    written,
)

CHOICES: dict[str, tuple[bool, str | None]] = {
    "strict": (False, None),
    "required": (True, None),
    "named": (True, "get_weather"),
}


def allowed(held: LLMatcher) -> set[int]:
    words = np.zeros(64, dtype=np.int32)
    held.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
    return set(map(int, np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))))


@functools.cache
def byte_tokens() -> dict[int, int]:
    """byte -> the token that stands for it alone."""
    detokenizers = Detokenizers(tokenizer(True)[0])
    texts = {id: detokenizers.token_bytes(id) for id in range(2048)}
    return {text[0]: id for id, text in texts.items() if len(text) == 1}


def behind(grammar: Grammar | None, text: str, markers: bool) -> LLMatcher:
    """The matcher where `text` has been written."""
    held = matcher(grammar, markers)
    for id in tokenizer(markers)[0].encode(text, add_special_tokens=False).ids:
        assert held.consume_token(id), text
    return held


@pytest.mark.parametrize("markers", [False, True], ids=["text", "tokens"])
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("format", FORMATS_WITH_GRAMMAR)
def test_nothing_stands_behind_the_only_call(format: str, choice: str, markers: bool) -> None:
    source, _, tokens = tokenizer(markers)
    required, name = CHOICES[choice]
    grammar = tool_grammar(TOOLS, format, required=required, tool_name=name, parallel=False, tokens=tokens)
    held = behind(grammar, written(format, CALL), markers)
    assert held.is_accepting()
    for _ in range(8):
        more = sorted(allowed(held) - {END, 0})
        texts = [source.decode([id], skip_special_tokens=False) for id in more]
        assert not "".join(texts).strip() or format == "harmony", texts
        if not more:
            break
        assert held.consume_token(more[0])
    assert allowed(held) <= {END, 0}
    assert not accepts(grammar, written(format, CALL) + " It is so.", markers)


@pytest.mark.parametrize("format", FORMATS_WITH_GRAMMAR)
def test_where_a_call_is_required_more_calls_may_stand_behind_it_and_no_words(format: str) -> None:
    grammar = tool_grammar(TOOLS, format, required=True)
    assert accepts(grammar, written(format, CALL, ToolCall("stop", "{}")))
    assert not accepts(grammar, written(format, CALL) + "\nI will look.")
    if format not in MESSAGES:
        assert accepts(tool_grammar(TOOLS, format), "I look.\n" + written(format, CALL) + "\nI have looked.")


TEXT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
SAY = ToolSet.compile([ToolDefinition("say", "", TEXT)])
# a first byte -> the bytes that may follow it in UTF-8 (RFC 3629, section 4)
SECOND = {0xC2: (0x80, 0xBF), 0xE0: (0xA0, 0xBF), 0xED: (0x80, 0x9F), 0xF0: (0x90, 0xBF), 0xF4: (0x80, 0x8F)}
NEVER = (*range(0x80, 0xC2), *range(0xF5, 0x100))


@pytest.mark.parametrize("format", FORMATS_WITH_GRAMMAR)
def test_only_whole_characters_can_be_written_in_a_call(format: str) -> None:
    grammar = tool_grammar(SAY, format, required=True, tokens=tokenizer(True)[2])
    whole = written(format, ToolCall("say", '{"a": "VALUE"}'))
    held = behind(grammar, whole[: whole.index("VALUE")], True)
    bytes_of = byte_tokens()
    assert bytes_of[ord("a")] in allowed(held)
    assert not allowed(held) & {bytes_of[one] for one in NEVER}
    for first, (least, most) in SECOND.items():
        begun = held.deep_copy()
        assert begun.consume_token(bytes_of[first])
        following = {byte for byte, id in bytes_of.items() if id in allowed(begun)}
        assert following == set(range(least, most + 1))
        assert not begun.is_accepting()


MARKED = "<|im_end|>"  # one token of the vocabulary, which ends the text


@pytest.mark.parametrize("name", ["get", f"get{MARKED}it"], ids=["value", "name"])
@pytest.mark.parametrize("format", FORMATS_WITH_GRAMMAR)
def test_what_is_spelled_like_a_marker_is_written_as_text(format: str, name: str) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [MARKED]}}, "required": ["a"]}
    tools = ToolSet.compile([ToolDefinition(name, "", schema)])
    grammar = tool_grammar(tools, format, required=True, tokens=tokenizer(True)[2])
    text = written(format, ToolCall(name, json.dumps({"a": MARKED})))
    held, source = matcher(grammar, True), tokenizer(True)[0]
    for number, piece in enumerate(text.split(MARKED)):
        for byte in MARKED.encode() if number else b"":
            assert END not in allowed(held)
            assert held.consume_token(byte_tokens()[byte])
        for id in source.encode(piece, add_special_tokens=False).ids:
            assert held.consume_token(id)
    assert held.is_accepting()
    if name == "get":
        turn = Turn(tools, format)
        turn.feed("<|start|>assistant" + text if format == "harmony" else text)
        (call,) = turn.close("stop").calls
        assert json.loads(call.arguments) == {"a": MARKED}


@pytest.mark.parametrize("format", ["hermes", "qwen_xml", "deepseek", "mistral", "llama3", "bare_python"])
def test_in_words_or_in_the_right_form(format: str) -> None:
    """A model that is asked again for what looked like a call may not write the same again."""
    grammar = tool_grammar(TOOLS, format, in_words=True)
    assert accepts(grammar, written(format, CALL))
    assert accepts(grammar, "I cannot do that.\nThe list [1] is {empty}.")
    shown = '{"name": "get_weather", "parameters": {"type": "object"}}'
    for begun in (
        shown,
        f"\n```json\n{shown}\n```",
        f"[{shown}]",
        f">{shown}",
        f"({shown}",
        f"<tool{shown}",
        "The tool call was not executed:",
    ):
        assert not accepts(grammar, begun)
        if format not in MESSAGES:
            assert accepts(tool_grammar(TOOLS, format), begun), "the first attempt is free"
