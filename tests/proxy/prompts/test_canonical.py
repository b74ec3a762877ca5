"""What is held still in a request, and what never is."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from proxy.cli.main import cli
from proxy.conversation.errors import SettingsError
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest, SessionId
from proxy.conversation.volatile import without_clocks, without_header_lines, without_ids, without_volatile
from proxy.http.read_settings import load_settings
from proxy.prompts.canonical import ALL_RULES, Canon, Rule
from repair.types import ToolDefinition


def request(text: str, session: str = "s", tools: tuple[ToolDefinition, ...] = ()) -> ChatRequest:
    messages = (Message.of(Role.system, text), Message.of(Role.user, "hi"))
    return ChatRequest("m", messages, tools, session=SessionId(session, "session-id"))


def told(canon: Canon, text: str, session: str = "s") -> str:
    return canon.apply(request(text, session)).messages[0].text


HELD = {
    "iso": ("Now: 2026-11-21T12:00:01Z", "Now: 2026-11-21T12:59:59Z"),
    "am_pm": ("Current time: 11/21/2026, 11:40:00 AM", "Current time: 11/21/2026, 12:20:09 PM"),
    "words": (
        "The date and time is Sat Nov 21 09:00:00 2026.",
        "The date and time is Sat Nov 21 09:12:00 2026.",
    ),
    "request_id": ("a\nRequest ID: 0f3c-99ab12\nb", "a\nRequest ID: 77aa-12de90\nb"),
    "nonce": ("nonce=a1b2c3d4", "nonce=e5f6a7b8"),
    "hash": ("Prompt hash: 9a8b7c6d5e", "Prompt hash: 1a2b3c4d5e"),
}
TOLD = {
    "the_next_day": ("Now: 2026-11-21T23:59:01Z", "Now: 2026-11-22T00:00:01Z"),
    "an_hour_later": ("Now: 2026-11-21T12:00:01Z", "Now: 2026-11-21T13:00:02Z"),
    "another_folder": ("Working directory: /src/a1b2c3d4", "Working directory: /src/e5f6a7b8"),
    "another_commit": ("HEAD is at a1b2c3d4e5", "HEAD is at f6a7b8c9d0"),
    "a_time_that_is_no_clock": ("Lunch is served 12:00", "Lunch is served 12:30"),
    "another_word": ("Session id: a1b2c3d4 of Ann", "Session id: a1b2c3d4 of Bob"),
}


@pytest.mark.parametrize("name", [*HELD, *TOLD])
def test_what_is_volatile_is_held_and_the_rest_is_told(name: str) -> None:
    first, second = (HELD | TOLD)[name]
    canon = Canon()
    assert told(canon, first) == first, "the first time as it is"
    assert told(canon, second) == (first if name in HELD else second)
    assert told(canon, second, "another session") == second
    assert told(Canon(ALL_RULES - {Rule.system_ids, Rule.system_clock}), second) == second


def test_a_clock_is_never_more_than_an_hour_behind() -> None:
    canon = Canon()
    texts = [f"Time: {hour:02}:{minute:02}" for hour in range(8, 14) for minute in (0, 25, 50)]
    shown = [told(canon, text) for text in texts]
    assert len(set(shown)) > 3

    def minutes(text: str) -> int:
        return int(text[-5:-3]) * 60 + int(text[-2:])

    behind = [minutes(text) - minutes(seen) for text, seen in zip(texts, shown, strict=True)]
    assert 0 <= min(behind) <= max(behind) <= 60


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("x-anthropic-billing-header: cc_version=2.1.5f; cch=1;\nYou are kind.", "You are kind."),
        ("X-One-Two: a\nx-three-four: b\nYou are kind.", "You are kind."),
        ("x-one-two: a", ""),
        ("You are kind.\nx-one-two: a", "You are kind.\nx-one-two: a"),
        ("x: a\nYou are kind.", "x: a\nYou are kind."),
        ("", ""),
    ],
)
def test_header_lines_at_the_head_are_left_out(text: str, left: str) -> None:
    assert without_header_lines(text) == left
    assert told(Canon(), text) == left
    assert told(Canon(ALL_RULES - {Rule.header_line}), text) == text


@pytest.mark.parametrize("text", ["", "plain", "12:00", "id", "time", "hash:", "=" * 2000, "time " * 2000])
def test_texts_without_anything_volatile_are_left_alone(text: str) -> None:
    assert without_volatile(text) == without_ids(text) == without_clocks(text).text == text


def tool(name: str, *keys: str) -> ToolDefinition:
    return ToolDefinition(name, "", {"type": "object", "properties": {key: {} for key in keys}})


def test_tools_are_shown_as_they_were_seen_first() -> None:
    canon = Canon()
    ours, turned = (tool("f", "a", "b"), tool("g", "c")), (tool("g", "c"), tool("f", "b", "a"))
    assert canon.apply(request("x", tools=ours)).tools == ours
    held = canon.apply(request("x", "another session", tools=turned)).tools
    assert [one.name for one in held] == ["f", "g"]
    assert list(held[0].parameters["properties"]) == ["a", "b"]
    more = (tool("h"), *turned)
    assert [one.name for one in canon.apply(request("x", tools=more)).tools] == ["h", "g", "f"], (
        "another list"
    )
    other = (tool("f", "a", "b", "d"), tool("g", "c"))
    assert canon.apply(request("x", tools=other)).tools == other, "another tool of that name"


def test_what_has_nothing_to_hold_is_the_same_object() -> None:
    once = request("You are kind.", tools=(tool("f", "a"),))
    canon = Canon()
    assert canon.apply(canon.apply(once)) is once
    assert Canon(frozenset()).apply(once) is once


def test_rules_are_turned_off_by_name() -> None:
    env = {"FORTIETH_NO_CANONICAL": "system-clock, own-turns"}
    assert load_settings({}, env).no_canonical == (Rule.system_clock, Rule.own_turns)
    assert load_settings({"no_canonical": ["tool-keys"]}, env).no_canonical == (Rule.tool_keys,)
    with pytest.raises(SettingsError, match=r"FORTIETH_NO_CANONICAL.*clocks"):
        load_settings({}, {"FORTIETH_NO_CANONICAL": "clocks"})


def test_a_flag_names_a_rule() -> None:
    result = CliRunner().invoke(cli, ["serve", "--no-canonical", "own-turns", "--no-canonical", "clocks"])
    assert result.exit_code == 2
    assert "--no-canonical" in result.stderr
    assert "'clocks'" in result.stderr
