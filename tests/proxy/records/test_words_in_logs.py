"""Where a word of a prompt, a tool, a result or an answer is kept, and where it is said not to be."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.conversation.verdict import GuardMode
from proxy.records.ledger import Ledger, LedgerLimits, read_entries
from proxy.upstreams.base import UpstreamCall
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.proxy.attempts import Attempts
from tests.proxy.live import LiveServer, serving
from tests.proxy.requests import user

SYSTEM, PROMPT, RESULT = "Plugh-system", "Plugh-prompt", "Plugh-result"
TOOL, CHOICE = "Plugh-tool", "Plugh-choice"
ANSWER, VALUE, NAME = "Plugh-answer", "Plugh-value", "Plugh_name"
ASKED = (SYSTEM, PROMPT, RESULT, TOOL, CHOICE)
WRITTEN = (ANSWER, VALUE, NAME)
OPEN_DOOR: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "open_door",
        "description": TOOL,
        "parameters": {
            "type": "object",
            "properties": {"key": {"enum": [CHOICE]}, "times": {"type": "integer"}},
            "required": ["key"],
            "additionalProperties": False,
        },
    },
}
FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "n", "schema": {"type": "object", "required": ["x"]}},
}


def call(name: str = "open_door", **arguments: Any) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


# what the model writes -> fields of the request beside the conversation
ANSWERS: tuple[tuple[Script, dict[str, Any]], ...] = (
    (Script((ANSWER,)), {}),
    (Script((call(key=CHOICE, times="7"),)), {}),
    (Script((call(key=VALUE),)), {}),
    (Script((call(key=CHOICE, other=VALUE),)), {}),
    (Script((call(NAME, key=CHOICE),)), {}),
    (Script((call(key=CHOICE)[:-30],)), {}),
    (Script((UpstreamCall("open_door", json.dumps({"key": VALUE})),)), {}),
    (Script((f'{{"x": "{ANSWER}" y}}',)), {"response_format": FORMAT, "tools": []}),
    (Script((f'{{"y": "{ANSWER}"}}',)), {"response_format": FORMAT, "tools": []}),
    (Script((f"{ANSWER} " * 3000,), "length", repeated=True), {}),
)


def converse(server: LiveServer, plan: Attempts) -> None:
    for mode in GuardMode:
        for stream in (False, True):
            for index, (script, fields) in enumerate(ANSWERS):
                key = plan.plan(f"{PROMPT} {mode} {stream} {index}", script)
                messages = [
                    {"role": "system", "content": SYSTEM},
                    user(key),
                    {"role": "assistant", "content": ANSWER},
                    {"role": "tool", "tool_call_id": "c", "content": RESULT},
                    user(PROMPT),
                ]
                body = {"messages": messages, "tools": [OPEN_DOOR], "stream": stream, **fields}
                how = "error" if stream else "passthrough"
                response = server.post(body, {"x-fortieth-guard": mode.value, "x-fortieth-give-up": how})
                assert response.status_code == 200


@pytest.mark.parametrize("redact", [False, True], ids=["plain", "redacted"])
def test_neither_log_nor_metrics_hold_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, redact: bool
) -> None:
    """At debug: the other levels log a part of that."""
    plan = Attempts()
    ledger = Ledger.open(tmp_path / "ledger", LedgerLimits(redact=redact))
    with (
        caplog.at_level(logging.DEBUG),
        serving(ScriptedUpstream(plan), mode=GuardMode.full, ledger=ledger) as server,
    ):
        converse(server, plan)
        told = [
            httpx.get(server.root + path).text for path in ("/metrics", "/health", "/v1/fortieth/sessions")
        ]
    ledger.close()
    logged = caplog.text
    assert "repaired: model scripted" in logged
    assert {record.levelno for record in caplog.records} >= {logging.DEBUG, logging.INFO, logging.WARNING}
    assert [word for word in (*ASKED, *WRITTEN) for text in (logged, *told) if word in text] == []
    _look_at_the_ledger(tmp_path, redact)


def _look_at_the_ledger(folder: Path, redact: bool) -> None:
    """Prompts, tools and results are not in it, but where a problem quotes what a schema asks for; answers
    are, where fixes and problems quote them. Redacted, nothing is.
    """
    written = b"".join(path.read_bytes() for path in folder.iterdir()).decode("utf-8", "replace")
    assert [word for word in (SYSTEM, PROMPT, RESULT, TOOL) if word in written] == []
    assert (VALUE in written) is not redact
    assert (CHOICE in written) is not redact
    assert ANSWER not in written
    if redact:
        tools = {
            name
            for one in read_entries(folder / "ledger")
            for made in one.record["attempts"]
            for name in made["tools"]
        }
        assert tools == {"[redacted]"}


def test_a_refused_request_is_quoted_at_debug_alone(caplog: pytest.LogCaptureFixture) -> None:
    with serving(ScriptedUpstream(Attempts())) as server:
        for level in ("info", "debug"):
            caplog.clear()
            with caplog.at_level(level.upper()):
                assert server.post({"messages": [user("x")], "temperature": PROMPT}).status_code == 400
            assert (PROMPT in caplog.text) is (level == "debug")
