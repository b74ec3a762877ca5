"""Loops of calls: found in the history, told to the model inside the last result, then stopped."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.codecs.hints import polling_tools
from proxy.conversation.message import Message, PastCall, Role
from proxy.conversation.request import ChatRequest, ToolMode
from proxy.conversation.verdict import GiveUp
from proxy.guard.loops import find_loop, nudge, refuse_loop, steps_of
from proxy.guard.policy import GuardPolicy, LoopLimits
from proxy.upstreams.scripted import ScriptedUpstream
from repair.types import ToolCall
from tests.proxy.attempts import Accounts, Attempts, ask
from tests.proxy.live import LoopThread, serving
from tests.proxy.requests import CALL, WEATHER, user

LIMITS = LoopLimits()


def history(steps: str, result: Any = "same") -> tuple[Message, ...]:
    """Each letter a tool called with equal arguments, a digit behind it other ones; `|`: the user speaks;
    results by number of the step where `result` is callable.
    """
    messages = [Message.of(Role.user, "go")]
    number = 0
    for index, letter in enumerate(steps):
        if letter == "|":
            messages.append(Message.of(Role.user, "go on"))
        if not letter.isalpha():
            continue
        digit = steps[index + 1] if steps[index + 1 : index + 2].isdigit() else "0"
        call = PastCall(f"call_{number}", letter, f'{{"n": {digit}}}')
        told = result(number) if callable(result) else result
        messages.append(Message.of(Role.assistant, "", calls=(call,)))
        messages.append(Message.of(Role.tool, told, call_id=call.id))
        number += 1
    return tuple(messages)


def call(letter: str, digit: str = "0") -> ToolCall:
    return ToolCall(letter, f'{{ "n" : {digit} }}')


CASES = {
    # history, the next call, the nudge's count (0: none), whether the call is refused
    "none": ("", call("a"), 0, False),
    "twice": ("aa", call("a"), 0, False),
    "three_times": ("aaa", call("a"), 3, False),
    "four_times": ("aaaa", call("a"), 4, True),
    "four_times_then_other": ("aaaa", call("b"), 4, False),
    "four_times_then_other_arguments": ("aaaa", call("a", "1"), 4, False),
    "reset_by_another": ("aaaba", call("a"), 0, False),
    "reset_by_other_arguments": ("aaaa1a", call("a"), 0, False),
    "reset_by_the_user": ("aaa|aa", call("a"), 0, False),
    "ping_pong_of_two": ("abab", call("a"), 0, False),
    "ping_pong_of_three": ("ababab", call("a"), 3, False),
    "ping_pong_of_five": ("ababababa", call("b"), 4, True),
    "ping_pong_left": ("abababab", call("c"), 4, False),
    "three_in_turn": ("abcabcabcabcabc", call("a"), 0, False),
}


@pytest.mark.parametrize("name", CASES)
def test_calls_going_round(name: str) -> None:
    steps, following, count, refused = CASES[name]
    request = ChatRequest("m", history(steps))
    nudged = nudge(request, LIMITS)
    assert nudged.messages[:-1] == request.messages[:-1]
    if count:
        assert nudged.messages[-1].text.startswith(f"same\n\n[Note: {count} times ")
    else:
        assert nudged == request
    assert (refuse_loop(request, (following,), LIMITS) is not None) is refused


def test_changing_results_are_progress() -> None:
    request = ChatRequest("m", history("a" * 9, result=lambda number: f"{number * 10}%"))
    assert refuse_loop(request, (call("a"),), LIMITS) is None
    assert "same result" not in nudge(request, LIMITS).messages[-1].text
    stuck = ChatRequest("m", history("a" * 9, result=lambda number: f"{min(number, 5) * 10}%"))
    assert refuse_loop(stuck, (call("a"),), LIMITS) is not None


@pytest.mark.parametrize(("count", "told", "refused"), [(2, False, False), (3, True, False), (9, True, True)])
def test_the_same_error_with_other_arguments(count: int, told: bool, refused: bool) -> None:
    steps = "".join(f"a{number}" for number in range(count))
    request = ChatRequest("m", history(steps, result="Error: no such file"))
    assert ("the same error" in nudge(request, LIMITS).messages[-1].text) is told
    assert (refuse_loop(request, (call("a", "77"),), LIMITS) is not None) is refused
    fine = ChatRequest("m", history(steps, result="ok"))
    assert find_loop(steps_of(fine.messages, LIMITS), LIMITS) is None


def test_parallel_calls_go_round_together() -> None:
    pair = (call("a"), call("b"))
    request = ChatRequest("m", history("abababab"))
    assert refuse_loop(request, pair, LIMITS) is not None
    assert refuse_loop(request, (*pair, call("c")), LIMITS) is None


def test_results_without_ids_belong_to_the_calls_in_order() -> None:
    messages = (
        Message.of(Role.user, "go"),
        Message.of(Role.assistant, "", calls=(PastCall("", "a", "{}"), PastCall("", "b", "{broken"))),
        Message.of(Role.tool, "first"),
        Message.of(Role.tool, "second"),
    )
    assert [(step.name, step.result) for step in steps_of(messages, LIMITS)] == [
        ("a", "first"),
        ("b", "second"),
    ]


@pytest.mark.parametrize(
    ("limits", "told", "refused"),
    [
        (LoopLimits(nudge=0), False, True),
        (LoopLimits(stop=0), True, False),
        (LoopLimits(nudge=9, stop=9), False, False),
        (LoopLimits(polling=frozenset({"a"})), False, False),
    ],
    ids=["no_nudge", "no_stop", "later", "polling"],
)
def test_counts_and_polling_tools(limits: LoopLimits, told: bool, refused: bool) -> None:
    request = ChatRequest("m", history("aaaa"))
    assert (nudge(request, limits) != request) is told
    assert (refuse_loop(request, (call("a"),), limits) is not None) is refused


def test_a_polling_tool_in_a_pair_makes_no_loop() -> None:
    request = ChatRequest("m", history("abababababab"))
    limits = LoopLimits(polling=frozenset({"a"}))
    assert find_loop(steps_of(request.messages, limits), limits) is None


def test_of_a_long_history_the_end_is_read() -> None:
    steps = steps_of(history("b" * 500 + "a" * 8), LIMITS)
    assert [step.name for step in steps] == ["b"] * 4 + ["a"] * 8
    assert all(step.result == "same" for step in steps)


POLL = {"x-fortieth-polling": True}


@pytest.mark.parametrize(
    ("tool", "polled"),
    [
        ({"type": "function", "function": {"name": "f", **POLL}}, True),
        ({"type": "function", "function": {"name": "f"}, **POLL}, True),
        ({"type": "function", "function": {"name": "f", "parameters": POLL}}, True),
        ({"name": "f", "input_schema": POLL}, True),
        ({"type": "function", "function": {"name": "f", "x-fortieth-polling": "yes"}}, False),
        ({"type": "function", "function": {"name": "f"}}, False),
        ({"type": "function", "function": None}, False),
        ("f", False),
    ],
)
def test_how_a_tool_is_declared_as_polling(tool: Any, polled: bool) -> None:
    assert polling_tools({"tools": [tool]}) == ({"f"} if polled else set())


def looping(key: str, rounds: int) -> list[dict[str, Any]]:
    messages = [user(key)]
    for number in range(rounds):
        function = {"name": "get_weather", "arguments": '{"city": "Lisbon"}'}
        called = {"id": f"c{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [called]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": "rain"})
    return messages


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_loop_over_http(thread: LoopThread, stream: bool) -> None:
    attempts, accounts = Attempts(), Accounts()
    upstream = ScriptedUpstream(attempts)
    with serving(upstream, policy=GuardPolicy(), sinks=(accounts,), thread=thread) as server:
        key = attempts.plan("told", CALL)
        seen = ask(server, key, stream, messages=looping(key, 3))
        assert (seen.verdict, len(seen.calls)) == ("clean", 1)
        assert attempts.asked[key][0].messages[-1].text.startswith("rain\n\n[Note: 3 times in a row")
        assert accounts.kept[-1].looping

        key = attempts.plan("comes to its senses", f"Again.\n{CALL}", "It rains.")
        seen = ask(server, key, stream, messages=looping(key, 4))
        assert (seen.verdict, seen.content, seen.calls) == ("reasked", "Again.\n\nIt rains.", ())
        fork = attempts.asked[key][1]
        assert fork.messages[-1].role is Role.tool
        assert "5 times in a row" in fork.messages[-1].text
        assert fork.tool_choice.mode is ToolMode.auto

        key = attempts.plan("stopped", f"Again.\n{CALL}")
        seen = ask(server, key, stream, messages=looping(key, 4))
        assert (seen.verdict, seen.calls, seen.reason) == ("failed", (), "stop")
        assert seen.content == (
            "Again.\n\nStopped: 5 times in a row get_weather was called with the same arguments, "
            "and nothing changes. The call was not made again."
        )
        assert [problem.rule for problem in accounts.kept[-1].problems] == ["loop"]

        key = attempts.plan("polling", CALL)
        polled = [{**WEATHER, "x-fortieth-polling": True}]
        assert ask(server, key, stream, messages=looping(key, 9), tools=polled).verdict == "clean"

        key = attempts.plan("only repair", CALL)
        headers = {"x-fortieth-guard": "repair"}
        assert ask(server, key, stream, headers, messages=looping(key, 9)).verdict == "clean"


def test_a_stop_as_an_error(thread: LoopThread) -> None:
    attempts = Attempts()
    policy = GuardPolicy(give_up=GiveUp.error)
    with serving(ScriptedUpstream(attempts), policy=policy, thread=thread) as server:
        key = attempts.plan("stopped", CALL)
        seen = ask(server, key, False, messages=looping(key, 5))
        assert (seen.status, seen.error["code"]) == (502, "tool_call_failed")
        assert "6 times in a row" in seen.error["message"]
