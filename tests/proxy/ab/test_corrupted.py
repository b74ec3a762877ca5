"""The scripted model of the corrupted outputs, over real HTTP."""

from __future__ import annotations

import httpx
from jsonschema_rs import is_valid

from proxy.ab.client import AskOptions, ask_streamed
from proxy.ab.corrupted import corrupted_workload, load_corrupted, right_call, scripted_model
from proxy.ab.judge import TurnJudge
from proxy.ab.measured import Delivered

ASK = AskOptions(timeout_s=10)


async def test_each_case_is_answered_as_it_stands_and_rightly_when_asked_again() -> None:
    cases = load_corrupted()
    assert len(cases) > 1000
    async with (
        scripted_model() as base_url,
        httpx.AsyncClient(base_url=base_url + "/", timeout=10) as client,
    ):
        for case in cases[::40]:
            first = [{"role": "user", "content": f"case {case.id}"}]
            answer = await ask_streamed(client, "m", first, case.tools, ASK, 0)
            assert answer.error == ""
            if case.channel == "content":
                assert (answer.content, answer.calls) == (case.text, ())
            else:
                assert answer.calls[0]["function"]["arguments"] == case.text
            again = [*first, answer.message, {"role": "user", "content": "That call was not executed."}]
            answer = await ask_streamed(client, "m", again, case.tools, ASK, 0)
            judged = TurnJudge(case.tools).judge(answer.content, answer.calls, answer.finish, case.calls)
            assert judged.delivered is Delivered.valid
            assert judged.exact in (None, True)


async def test_it_answers_whole_too_and_refuses_the_rest() -> None:
    async with scripted_model() as base_url, httpx.AsyncClient(timeout=10) as client:
        assert (await client.get(f"{base_url}/models")).json()["data"][0]["id"] == "corrupted-outputs"
        assert (await client.get(f"{base_url}/nothing")).status_code == 404
        body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "case hermes:clean"}]}]}
        response = await client.post(f"{base_url}/chat/completions", json=body)
        assert "<tool_call>" in response.json()["choices"][0]["message"]["content"]


def test_a_conversation_is_of_twenty_cases() -> None:
    workload = corrupted_workload(2)
    assert [item.turns for item in workload.items] == [20, 20]
    assert sum(item.turns for item in corrupted_workload(10_000).items) == len(load_corrupted())


def test_right_calls_fit_their_schemas() -> None:
    checked = 0
    for case in load_corrupted():
        for tool in case.tools:
            call, function = right_call(tool), tool["function"]
            assert call.name == function["name"]
            assert is_valid(function.get("parameters") or {}, call.arguments), (case.id, call)
            checked += 1
    assert checked > 1000
