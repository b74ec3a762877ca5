"""When calls leave the StreamParser, and that no later text could have made something else of them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from repair.events import Calls, Event, join_sections, join_texts
from repair.formats import FORMATS, deepseek, dsml, kimi, step3
from repair.formats.shapes import RowFormat
from repair.limits import LIMITS
from repair.regions import Format
from repair.release import Wait, possible_ends
from repair.sections import section_of
from repair.stream import StreamParser
from repair.tools import ToolSet
from repair.turn import Turn, TurnPolicy
from repair.types import ToolCall, ToolDefinition, Verdict
from tests.repair.corpus import CASES, TOOLS

TWO = (ToolCall("get_weather", '{"city": "Oslo"}'), ToolCall("run", '{"x": "y"}'))
TOOLSET = ToolSet.compile([ToolDefinition("get_weather"), ToolDefinition("run")])
MARKERS = sorted({one for form in FORMATS.values() for one in (*form.OPENERS, *form.CLOSERS)})
SECTIONS = [name for name, one in FORMATS.items() if section_of(one)]
JOINTS = ("", "\n", " ", '"', ",", "; ", "}", "]", " and then ", *MARKERS)

# format -> characters behind the first call at which it leaves; None: both calls are one region, which
# leaves at its end marker, or without one at the end of the turn. What stands between two calls of a section
# belongs to the first.
DELAYS: dict[str, int | None] = {
    **dict.fromkeys(("hermes", "qwen_xml", "glm", "seed", "minicpm", "hunyuan"), 0),
    **dict.fromkeys(("gemma4", "function_gemma", "calling"), 0),
    "harmony": 1,
    "mistral": len("[TOOL_CALLS]"),
    "functionary": len("\n>>>"),
    **dict.fromkeys(("minimax", "dots", "rwkv"), len('<invoke name="run">')),
    "dsml": len(f'{dsml.INVOKE}"run">'),
    "step3": len(f'{step3.OPEN}{step3.INVOKE}"run">'),
    "deepseek": len(f"{deepseek.CALL}function{deepseek.SEPARATOR}run\n`"),
    "deepseek_v31": len(f"{deepseek.CALL}run{deepseek.SEPARATOR}{{"),
    "kimi": len(f"{kimi.CALL}functions.run:1{kimi.ARGUMENTS}{{"),
    **dict.fromkeys(("command", "nemotron", "hunyuan_a13b", "apertus"), len("{")),
    **dict.fromkeys(("lfm2", "llama4"), len("run(")),
    "olmo3": None,
    **dict.fromkeys(("llama3", "granite", "phi4", "bare_json", "bare_python")),
    **dict.fromkeys(("pangu", "clova"), len("{")),
    "solar": None,
    "plamo": len(f"{FORMATS['plamo'].render(TWO[1:])}".partition("{")[0])
    - len(FORMATS["plamo"].OPENERS[0])
    + 1,
    **{name: len(f'{FORMATS[name].OPENERS[1]}"run">') for name in ("dsml41", "gcml")},
    "kimi_k3": len('<|open|>call tool="run" index="1"<|sep|>'),
    **dict.fromkeys(("muse", "inkling"), 0),
    **dict.fromkeys(("minimax_m3", "hunyuan3", "ifm", "ifm_json")),
}
ENDLESS = ("llama3", "granite", "phi4", "solar", "hunyuan3", "bare_json", "bare_python")


def row_delay(form: Format) -> int:
    """Of a row without a section, which no test needs to name: its own end, or what opens the next call."""
    assert isinstance(form, RowFormat)
    assert not form.row.section
    return 0 if form.ENDS else len(form.row.joint + form.OPENERS[0])


def released(text: str, format: str) -> list[tuple[int, Calls]]:
    """The regions that leave before close(), each with the number of characters read by then."""
    parser = StreamParser(TOOLSET, format)
    return [
        (count, event)
        for count, char in enumerate(text, 1)
        for event in parser.feed(char)
        if isinstance(event, Calls)
    ]


@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_two_calls_leave_one_by_one(format: str, auto: bool) -> None:
    text = FORMATS[format].render(TWO)
    found = released(text, "auto" if auto else format)
    delay = DELAYS[format] if format in DELAYS else row_delay(FORMATS[format])
    if delay is None:
        assert [count for count, _ in found] == ([] if format in ENDLESS else [len(text)])
        return
    count, first = found[0]
    assert len(first.region.calls) == 1
    extra = len("get_weather\n") if auto and format == "functionary" else 0
    assert 0 <= count - len(first.raw) - delay <= extra


@pytest.mark.parametrize("format", SECTIONS)
def test_a_section_leaves_call_by_call_and_is_one_when_joined(format: str) -> None:
    calls = (*TWO, *TWO[:1], *TWO)
    text = FORMATS[format].render(calls)
    found = released(text, format)
    places, events = [count for count, _ in found], [event for _, event in found]
    assert [len(one.region.calls) for one in events] == [1] * len(calls)
    assert [one.more for one in events] == [True] * (len(calls) - 1) + [False]
    assert places == sorted(set(places))
    assert places[-1] == len(text)
    assert "".join(one.raw for one in events) == text
    parsed = FORMATS[format].parse(text, 0, TOOLSET)
    assert parsed is not None
    assert plain(join_sections(events)) == plain([Calls(parsed, text)])


@pytest.mark.parametrize("second", ["", "x", "}", "<|im_end|>", "prose and more", "end"])
@pytest.mark.parametrize("format", SECTIONS)
def test_the_last_call_answers_for_the_end_of_its_section(format: str, second: str) -> None:
    closer = FORMATS[format].CLOSERS[0]
    text = released(FORMATS[format].render(TWO), format)[0][1].raw + (closer if second == "end" else second)
    found = released(text, format)
    assert not any(event.more for _, event in found), "it may be the last one"
    case = {"tools": "weather", "format": format}
    assert plain(read(text, list(text), case)) == plain(read(text, None, case))


@pytest.mark.parametrize("format", SECTIONS)
def test_a_call_that_has_not_quite_begun_is_none(format: str) -> None:
    text = FORMATS[format].render(TWO)
    text = text[: released(text, format)[0][0] - 1]
    for pieces in ([text], None):
        events = read(text, pieces, {"tools": "weather", "format": format})
        assert not any(isinstance(one, Calls) and one.more for one in events)


@pytest.mark.parametrize("format", SECTIONS)
def test_a_section_that_turns_bad_is_lost_as_a_whole(format: str) -> None:
    calls = (*TWO, *TWO, ToolCall("nothing", "{}"))
    text = FORMATS[format].render(calls)
    for policy in (TurnPolicy(), TurnPolicy(enabled=False)):
        turn = Turn(TOOLSET, format, policy)
        deltas = [delta for char in text[:-8] for delta in turn.feed(char)]
        outcome = turn.close("length")
        assert outcome.calls == ()
        assert "".join(one.text for one in (*deltas, *outcome.events)) == text[:-8]
    assert outcome.verdict is Verdict.none


@pytest.mark.parametrize("format", ["llama3", "granite", "phi4"])
def test_without_an_end_marker_the_next_call_is_one(format: str) -> None:
    text = FORMATS[format].render(TWO[:1])
    assert released(text + "\n", format) == []
    count, first = released(text + "\n" + text, format)[0]
    assert first.raw.strip() == text
    assert count == len(text) + 1 + len(FORMATS[format].OPENERS[0])


def read(text: str, pieces: list[str] | None, case: dict[str, Any]) -> list[Event]:
    """The events of `pieces`; of None: of the text as it is read when it is complete."""
    names = [one.get("function", one) for one in TOOLS[case["tools"]]]
    tools = ToolSet.compile([ToolDefinition(one["name"], "", one.get("parameters", {})) for one in names])
    parser = StreamParser(
        tools, case.get("format", "auto"), generation_prompt=case.get("generation_prompt", "")
    )
    events = [event for piece in pieces or () for event in parser.feed(piece)]
    return join_texts([*events, *(parser.close() if pieces else parser.read_all(text))])


def plain(events: list[Event]) -> list[Any]:
    """The events without the places of regions, which count from where the reading began."""
    return [
        (one.raw, one.bare, one.region.calls, one.region.closed) if isinstance(one, Calls) else one
        for one in events
    ]


@pytest.mark.parametrize("seed", range(5))
def test_what_follows_never_changes_what_has_left(seed: int) -> None:
    rng = random.Random(seed)
    cases = [one for one in CASES if one.get("channel", "content") == "content"]
    early = 0
    for _ in range(100):
        first, second = rng.choice(cases), rng.choice(cases)
        text = first["text"] + rng.choice(JOINTS) + second["text"]
        expected = plain(read(text, None, first))
        cuts = sorted(rng.randrange(len(text) + 1) for _ in range(4))
        random_pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        for pieces in (list(text), [text], random_pieces):
            assert plain(read(text, pieces, first)) == expected, text
        early += sum(isinstance(one, tuple) for one in expected)
    assert early


def test_a_problem_does_not_tell_where_in_the_stream_it_stood() -> None:
    case = {"tools": "weather", "format": "gemma4"}
    text = 'So: call:get_weather{city:"Oslo'
    assert plain(read(text, list(text), case)) == plain(read(text, None, case))


def test_fruitless_looks_are_rationed() -> None:
    wait = Wait("<tool_call>", possible_ends((FORMATS["hermes"],)))
    looks = 0
    for _ in range(10_000):
        if wait.add('"</tool_call>" '):
            looks += 1
            wait = Wait(wait.text(), possible_ends((FORMATS["hermes"],)), wait)
    assert looks < 25


def test_a_wait_sees_an_end_that_arrives_in_pieces() -> None:
    wait = Wait("<tool_call>{}</tool", possible_ends((FORMATS["hermes"],)))
    assert [wait.add(char) for char in "_call>x"] == [False] * 5 + [True, True]


@pytest.mark.parametrize(
    ("second", "policy", "rule"),
    [
        (ToolCall("nothing", "{}"), TurnPolicy(), "unknown_tool"),
        (TWO[1], TurnPolicy(parallel=False), "parallel"),
        (TWO[1], TurnPolicy(tool_choice="named", tool_name="get_weather"), "wrong_tool"),
        (TWO[1], TurnPolicy(), None),
    ],
)
def test_a_lost_turn_is_known_in_mid_stream(second: ToolCall, policy: TurnPolicy, rule: str | None) -> None:
    turn = Turn(TOOLSET, "hermes", policy)
    turn.feed("<think>Both.</think>")
    turn.feed(FORMATS["hermes"].render(TWO[:1]))
    assert not turn.problems
    turn.feed(FORMATS["hermes"].render((second,)))
    found = [one.rule for one in turn.problems]
    assert found == ([rule] if rule else [])
    turn.feed("\nand a word more")
    assert (turn.close("stop").verdict is Verdict.reask) == (rule is not None)


def test_no_turn_is_lost_while_its_calls_may_still_be_reasoning() -> None:
    """The opening of the block may have stood in a prompt that was not passed on."""
    turn = Turn(TOOLSET, "hermes")
    turn.feed(FORMATS["hermes"].render((ToolCall("nothing", "{}"),)))
    assert not turn.problems
    turn.feed("\n</think>\n" + FORMATS["hermes"].render(TWO[:1]))
    assert turn.close("stop").calls == TWO[:1]


@pytest.mark.parametrize("many", [LIMITS.calls + 1, LIMITS.calls + 2, 2 * LIMITS.calls + 3])
@pytest.mark.parametrize("format", ["hermes", "mistral", "minicpm", *SECTIONS])
def test_too_many_calls_are_refused_not_cut(format: str, many: int) -> None:
    calls = (ToolCall("run", "{}"),) * many
    turn = Turn(TOOLSET, format)
    turn.feed(FORMATS[format].render(calls))
    outcome = turn.close("stop")
    assert outcome.calls == ()
    assert "too_many_calls" in [one.rule for one in outcome.problems]
