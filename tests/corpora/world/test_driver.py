"""The driver against a server that plays what it is told: right answers, every kind of mistake, failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import httpx
import pytest

from corpora.world.driver import Asking, Ended, Run, Step, play_script
from corpora.world.score import Kind
from corpora.world.script import Script, Task, to_conversation, to_message, write_script
from tests.corpora.world.larder import LARDER

Body = dict[str, Any]
Reply = Callable[[Body], httpx.Response]


def script_of(turns: int, seed: int = 5, talk_share: float = 0.2) -> Script:
    return write_script(Random(seed), LARDER, turns, talk_share)


def completion(
    message: dict[str, Any], finish: str = "stop", completion_tokens: int = 9, verdict: str = "clean"
) -> httpx.Response:
    usage = {"prompt_tokens": 100, "completion_tokens": completion_tokens}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}
    return httpx.Response(200, json=body, headers={"x-fortieth-verdict": verdict, "x-fortieth-fixes": "2"})


def right_answer(script: Script, body: Body) -> dict[str, Any]:
    """What a model without fault says: found by the last thing that the user said and the turns since."""
    said = body["messages"]
    asked = [at for at, message in enumerate(said) if message["role"] == "user"]
    task = script.tasks[len(asked) - 1]
    since = sum(message["role"] == "assistant" for message in said[asked[-1] :])
    if since < len(task.turns):
        calls = task.turns[since].calls
        return to_message(calls, [f"call_{len(said)}_{at}" for at in range(len(calls))])
    return {"role": "assistant", "content": task.reply}


class Model:
    """Answers rightly, but for the requests (by number) that `slips` answers. bodies: what was asked."""

    def __init__(self, script: Script, slips: dict[int, Reply] | None = None) -> None:
        self._script = script
        self._slips = slips or {}
        self.bodies: list[Body] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content))
        slip = self._slips.get(len(self.bodies) - 1)
        return slip(self.bodies[-1]) if slip else completion(right_answer(self._script, self.bodies[-1]))


async def play(model: Model, script: Script, **options: Any) -> Run:
    transport = httpx.MockTransport(model)
    async with httpx.AsyncClient(transport=transport, base_url="http://model/v1") as client:
        return await play_script(client, script, **options)


async def test_a_model_without_fault_completes_the_run() -> None:
    script = script_of(12)
    model = Model(script)
    run = await play(model, script)
    assert (run.ended, run.reason, run.completed) == (Ended.served, "", True)
    assert {step.kind for step in run.steps} == {Kind.exact, Kind.spoken}
    assert len(run.steps) == script.tool_turns + len(script.tasks) == len(model.bodies)
    assert [step.turn for step in run.tool_steps] == list(range(1, script.tool_turns + 1))
    assert run.survived == script.tool_turns
    assert run.served == frozenset(range(len(script.tasks)))
    assert (run.steps[0].answer.verdict, run.steps[0].answer.fixes) == ("clean", 2)


async def test_the_conversation_is_the_script_as_training_has_it() -> None:
    script = script_of(6)
    model = Model(script)
    await play(model, script)
    assert model.bodies[-1]["tools"] == list(LARDER.tools)
    asked, written = model.bodies[-1]["messages"], to_conversation(script).messages[:-1]
    assert [_without_ids(one) for one in asked] == [_without_ids(one) for one in written]


def _without_ids(message: dict[str, Any]) -> tuple[Any, ...]:
    calls = [call["function"] for call in message.get("tool_calls", ())]
    return message["role"], message["content"], calls


def says(content: str, finish: str = "stop", tokens: int = 9) -> Reply:
    return lambda body: completion({"role": "assistant", "content": content}, finish, tokens)


def calls(name: str, arguments: str) -> Reply:
    function = {"name": name, "arguments": arguments}
    call = {"id": "call_slip", "type": "function", "function": function}
    return lambda body: completion({"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls")


TAKE_ONE = '{"item": "tea", "amount": 1}'
SLIPS: dict[str, tuple[Reply, Kind, str | None]] = {
    "silent": (says("No."), Kind.silent, None),
    "malformed": (says('<tool_call>{"name": '), Kind.malformed, None),
    "invalid": (
        calls("count_item", '{"item": "gold"}'),
        Kind.invalid,
        'invalid arguments: "gold" is not one of "rice", "salt" or 2 other candidates',
    ),
    "unknown": (calls("steal_item", "{}"), Kind.invalid, "unknown tool: steal_item"),
    "broken": (calls("count_item", "{"), Kind.malformed, "invalid arguments: not valid JSON"),
    "wrong": (calls("take_item", TAKE_ONE), Kind.wrong, None),
}


@pytest.mark.parametrize("case", SLIPS.values(), ids=SLIPS)
async def test_a_task_fails_at_the_first_slip_and_the_loop_goes_on(
    case: tuple[Reply, Kind, str | None],
) -> None:
    slip, kind, complaint = case
    script = script_of(8, talk_share=0.0)
    model = Model(script, {0: slip})
    run = await play(model, script)
    assert run.steps[0].kind is kind
    assert run.ended is Ended.served
    assert 0 not in run.served
    assert len(run.served) == len(script.tasks) - 1
    assert not run.completed
    assert run.survived == (0 if kind is not Kind.wrong else len(run.tool_steps))
    following = model.bodies[1]["messages"]
    assert following[-1] == {"role": "user", "content": script.tasks[1].text}
    if complaint:
        assert json.loads(following[-2]["content"]) == {"error": complaint}
        assert following[-2]["tool_call_id"] == "call_slip"
    slipped = next(message for message in following if message["role"] == "assistant")
    answered = json.loads(slip({}).content)["choices"][0]["message"]
    assert slipped["content"] == (answered["content"] or "")
    assert slipped.get("tool_calls") == answered.get("tool_calls")
    assert run.steps[1].turn == len(script.tasks[0].turns) + 1


async def test_what_a_guard_refused_is_told_from_what_came_broken() -> None:
    said = {"role": "assistant", "content": '<tool_call>{"name": "count_item", "arguments": {}}</tool_call>'}
    script = script_of(3, talk_share=0.0)
    run = await play(Model(script, {0: lambda body: completion(said, verdict="failed")}), script)
    assert (run.steps[0].kind, run.steps[0].calls) == (Kind.refused, ())
    assert run.survived == 0


async def test_a_wrong_call_changes_the_live_world() -> None:
    script = script_of(3, talk_share=0.0)
    run = await play(Model(script, {0: calls("take_item", TAKE_ONE)}), script)
    ran = json.loads(run.steps[0].ran[0])
    assert ran == {"item": "tea", "left": script.start["tea"] - 1}
    assert run.state != script.end


async def test_a_call_after_the_task_was_done_is_needless() -> None:
    script = script_of(4, talk_share=0.0)
    turns = len(script.tasks[0].turns)
    run = await play(Model(script, {turns: calls("count_item", '{"item": "tea"}')}), script)
    assert run.steps[turns].kind is Kind.needless
    assert 0 not in run.served
    assert all(step.kind is Kind.exact for step in run.tool_steps)
    assert not run.completed


TOO_LONG = {"error": {"message": "too long", "code": "context_length_exceeded"}}
ENDS: dict[str, tuple[Reply, Ended]] = {
    "context": (lambda body: httpx.Response(400, json=TOO_LONG), Ended.context),
    "context_in_words": (
        lambda body: httpx.Response(400, json={"error": {"message": "maximum context length is 8192"}}),
        Ended.context,
    ),
    "full_in_the_middle": (says("Half a", "length", 17), Ended.context),
    "bad_request": (lambda body: httpx.Response(400, json={"error": {"message": "top_p"}}), Ended.failed),
    "down": (lambda body: httpx.Response(503, text="down"), Ended.failed),
    "no_completion": (lambda body: httpx.Response(200, json={"choices": []}), Ended.failed),
    "no_json": (lambda body: httpx.Response(200, text="<html>"), Ended.failed),
}


@pytest.mark.parametrize("case", ENDS.values(), ids=ENDS)
async def test_a_run_ends_where_the_server_ends_it(case: tuple[Reply, Ended]) -> None:
    reply, ended = case
    script = script_of(8)
    run = await play(Model(script, {3: reply}), script)
    assert run.ended is ended
    assert run.reason
    assert len(run.steps) == 3
    assert not run.completed


async def test_a_server_that_is_not_there_is_a_failed_run() -> None:
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9/v1") as client:
        run = await play_script(client, script_of(2))
    assert (run.ended, run.steps) == (Ended.failed, ())


async def test_an_answer_cut_at_its_own_limit_is_a_turn_and_not_the_end() -> None:
    script = script_of(3, talk_share=0.0)
    run = await play(Model(script, {0: says("tea " * 256, "length", 256)}), script)
    assert (run.steps[0].kind, run.ended) == (Kind.silent, Ended.served)


async def test_every_turn_is_watched_and_asked_as_told() -> None:
    script = script_of(5)
    model, seen = Model(script), list[tuple[Task, Step]]()
    asking = Asking("some-model", 0.7, 99, 11)
    run = await play(model, script, asking=asking, watch=lambda task, step: seen.append((task, step)))
    assert [step for _, step in seen] == list(run.steps)
    assert all(script.tasks[step.task] is task for task, step in seen)
    told = {key: model.bodies[0][key] for key in ("model", "temperature", "max_tokens", "seed")}
    assert told == {"model": "some-model", "temperature": 0.7, "max_tokens": 99, "seed": 11}
