"""Text that may be a call waits, whatever the pieces; all other text leaves at once, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repair.doubt import Doubt
from repair.formats import FORMATS

WAITS = {
    'So: functool[{"name": "play", "arguments": {}}]': "So: functool",
    'I see.\n{"name": "x", "arguments": {}}': "I see.\n",
    '[ {"name": "x", "parameters": {}}]': "",
    'I look.\n- <tool_call>{"name": 1}': "I look.\n- ",
    "Done}}\n</tool_call>": "Done}}\n",
    "see [TOOL_CALLS]x": "see ",
    "see\n[/TOOL_CALLS]": "see\n",
    ">>>get\n{}": "",
    '>{"name": "f"}': "",
    "=functions.f <|message|>": "",
    "```json\n[unused11][{}]": "",
    "I call:\n[read_page(path='x')]": "I call:\n",
    "So <|ttools|>[]": "So ",
    "<funcction_calls>f()": "",
    "\u273fFUNCTION\u273f: x": "",
    "<\u2016DSML\u2016tool_calls>": "",
}
LEAVES = (
    "Hello <b>world</b> [1] and {x} ok.",
    '```json\n{\n  "name": "pkg",\n  "main": "x"\n}\n```\n',
    "Use `<tool_call>` for a call, or '[TOOL_CALLS]'.",
    "a < b > c >> d, and <div class='x'>",
    '{"name": "Anna Smith", "age": 4}\n',
    "- [ ] one\n- [x] two\n| a | b |",
    "> as quoted",
    "see [f(x)]",
    "e.g. this one",
    "Sure: I will",
)


def run(text: str, size: int) -> tuple[str, str]:
    doubt = Doubt()
    sent = [doubt.feed(text[at : at + size]) for at in range(0, len(text), size)]
    return "".join(sent), doubt.close()


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize("text", WAITS)
def test_what_may_be_a_call_waits(text: str, size: int) -> None:
    assert run(text, size) == (WAITS[text], text[len(WAITS[text]) :])


@pytest.mark.parametrize("size", [6, 1000])
@pytest.mark.parametrize("text", ["get_order\n<arg_key>k", "readPage<|content|>", "web.find[{}]"])
def test_a_name_waits_where_its_first_piece_shows_that_it_is_one(text: str, size: int) -> None:
    assert run(text, size) == ("", text)


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("text", LEAVES)
def test_other_text_leaves(text: str, size: int) -> None:
    assert run(text, size) == (text, "")


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].OPENERS])
def test_no_family_s_marker_leaves_whole(name: str) -> None:
    for opener in FORMATS[name].OPENERS:
        if opener != "Action:":
            sent, _ = run(f"I look.\n{opener}", 1)
            assert opener not in sent


@given(
    st.lists(st.sampled_from(["<", "[", "{", '"name"', ": ", '"x"', ",", "tool_call", ">", "a", "\n", "`"])),
    st.integers(1, 4),
)
def test_nothing_is_lost(pieces: list[str], size: int) -> None:
    text = "".join(pieces)
    sent, held = run(text, size)
    assert sent + held == text
