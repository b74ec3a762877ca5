"""Recorded conversations: what a line may be, which requests are one conversation, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.ab import plan
from proxy.ab.client import StreamedAnswer
from proxy.ab.judge import TurnJudge
from proxy.ab.plan import RunPlan
from proxy.ab.recorded import RecordedRequest, read_line, recorded_workload, to_items
from proxy.ab.workload import Workload
from proxy.conversation.errors import StartError

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
}
TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "Look."},
    CALL,
    {"role": "tool", "tool_call_id": "c1", "content": "seen"},
    {"role": "assistant", "content": "I saw it."},
]


def file_of(folder: Path, *lines: Any) -> Path:
    path = folder / "talk.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def asked(path: Path) -> list[list[int]]:
    """How long the history of each request is, by conversation."""
    found = []
    for item in recorded_workload(path).items:
        dialogue, sizes = item.open(), []
        while (due := dialogue.next()) is not None:
            sizes.append(len(due.messages))
            dialogue.take(StreamedAnswer("other"), TurnJudge(due.tools).judge("other", [], "stop"))
        found.append(sizes)
        assert item.turns == len(sizes)
    return found


def test_a_conversation_is_asked_for_at_each_turn_of_the_assistant(tmp_path: Path) -> None:
    assert asked(file_of(tmp_path, {"messages": TALK, "tools": TOOLS})) == [[1, 3]]


def test_requests_that_go_on_from_one_another_are_one_conversation(tmp_path: Path) -> None:
    other = [{"role": "user", "content": "Else."}]
    lines = [
        {"messages": TALK[:1]},
        "",
        {"body": {"messages": other}},
        {"messages": TALK[:3], "tools": TOOLS},
    ]
    assert asked(file_of(tmp_path, *lines)) == [[1, 3], [1]]


def test_a_name_of_the_session_says_which_requests_belong_together(tmp_path: Path) -> None:
    lines = [
        {"session": "a", "body": {"messages": TALK[:1]}},
        {"session": "b", "body": {"messages": TALK[:3]}},
        {"session": "a", "body": {"messages": [{"role": "user", "content": "Anew."}]}},
    ]
    assert asked(file_of(tmp_path, *lines)) == [[1, 1], [3]]


def test_equal_beginnings_are_as_many_conversations(tmp_path: Path) -> None:
    """Each longer request goes on from one of them, and from the longest beginning that it has."""
    begun, longer = {"messages": TALK[:1]}, {"messages": TALK[:3]}
    assert asked(file_of(tmp_path, begun, begun, longer, longer)) == [[1, 3], [1, 3]]
    assert asked(file_of(tmp_path, begun, longer, {"messages": [*TALK[:3], *TALK[:1]]}, begun)) == [
        [1, 3, 4],
        [1],
    ]


def test_settings_of_the_request_go_with_it() -> None:
    line = {"messages": TALK[:1], "tool_choice": "required", "temperature": 2, "model": "m", "user": "me"}
    (request,) = read_line(json.dumps(line), "here")
    assert request.extra == {"tool_choice": "required"}


BAD = {
    "no JSON": ("{", "line 2: not JSON"),
    "a number": ("3", "line 2: a JSON object with messages is needed, got int"),
    "no messages": ({"tools": []}, "line 2: `messages` must be a list of objects with a role each"),
    "empty": ({"messages": []}, "line 2: `messages` must be"),
    "no role": ({"messages": [{"content": "hi"}]}, "line 2: `messages` must be"),
    "tools": ({"messages": TALK, "tools": "look"}, "line 2: `tools` must be a list of objects"),
    "nested": ("[" * 200_000, "line 2: not JSON"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named(name: str, tmp_path: Path) -> None:
    line, said = BAD[name]
    with pytest.raises(StartError) as caught:
        recorded_workload(file_of(tmp_path, {"messages": TALK}, line))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_request_that_cannot_be_sent_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep: list[object] = []
    for _ in range(sys.getrecursionlimit()):
        deep = [deep]
    asked = RecordedRequest(({"role": "user", "content": deep},), ())
    monkeypatch.setattr(plan, "recorded_workload", lambda path: Workload("", to_items([[asked]])))
    with pytest.raises(StartError, match=r"talks\.jsonl: a request is nested too deep to be sent"):
        RunPlan(("a", "b"), workload="recorded", source="talks.jsonl").load_workload()


def test_files_without_a_conversation(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="there is no conversation"):
        recorded_workload(file_of(tmp_path, ""))
    with pytest.raises(StartError, match="there is no conversation"):
        recorded_workload(file_of(tmp_path, {"messages": [CALL]}))
    with pytest.raises(StartError, match="cannot be read"):
        recorded_workload(tmp_path / "nothing.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StartError, match="cannot be read"):
        recorded_workload(tmp_path / "binary")
