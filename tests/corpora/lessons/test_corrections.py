"""Corrections say what the guard says, in its forms, and what is due is right."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from corpora.lessons.corrections import (
    KINDS,
    Form,
    alone,
    draw_case,
    draw_correction,
    forms_of,
    instruction,
)
from corpora.lessons.vocabulary import LESSONS
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest, Sampling
from proxy.guard.announced import ANNOUNCED, announces_step
from proxy.guard.attempt import REPEATED, Attempt
from proxy.guard.fork import extend
from proxy.guard.guard import UNASKED
from proxy.guard.structured import ask_for_arguments
from proxy.upstreams.base import UpstreamCall
from repair.jsonl import read_tools, repair_arguments
from repair.reask import HINTS
from repair.types import Accepted, Verdict

#: "inner" is a missing argument inside another one
RULES = {kind: "required" if kind == "inner" else kind for kind in KINDS}
WAYS = [(kind, form) for kind in KINDS for form in forms_of(kind)]


def test_every_hint_of_the_guard_is_taught() -> None:
    assert set(HINTS) <= set(RULES.values())


@pytest.mark.parametrize(("kind", "form"), WAYS)
def test_an_attempt_is_told_as_the_guard_tells_it(kind: str, form: Form) -> None:
    """The fork of the guard over the same attempt has the same words in the same roles."""
    for seed in range(8):
        rng = Random(f"{kind} {seed}")
        case = draw_case(rng, LESSONS)
        refused = KINDS[kind](rng, case)
        if refused is None:
            continue
        drawn = draw_correction(Random(f"{kind} {seed}"), LESSONS, kind, form)
        assert drawn.form is form
        emitted = tuple(UpstreamCall(*call) for call in refused.calls) if form is Form.call else ()
        attempt = Attempt((), (), Verdict.reask, problems=refused.problems, emitted=emitted)
        if not emitted:
            attempt = Attempt((), (), Verdict.reask, problems=refused.problems, text=refused.text)
        tools = read_tools(list(map(dict, case.tools)))
        forked = extend((), attempt, refused.problems, tools)
        told = [message.text for message in forked if message.role is not Role.assistant]
        ours = [one["content"] for one in drawn.messages if one["role"] in ("tool", "user")][-len(told) :]
        assert [text.splitlines()[-1] for text in told] == [text.splitlines()[-1] for text in ours]
        for problem in refused.problems:
            assert all(problem.message[:100] in text for text in ours)


def test_what_is_due_is_a_valid_call_or_words() -> None:
    for kind, form in WAYS:
        drawn = draw_correction(Random(7), LESSONS, kind, form)
        if kind == "unasked_call":
            assert (drawn.due, drawn.tools) == ((), ())
            continue
        tools = read_tools(list(map(dict, drawn.tools)))
        assert drawn.due
        for call in drawn.due:
            tool = tools.get(call.name)
            assert tool is not None
            assert tool.fits(dict(call.arguments))


def test_the_attempt_itself_is_not_learned() -> None:
    for kind, form in WAYS:
        drawn = draw_correction(Random(3), LESSONS, kind, form)
        said = [one for one in drawn.messages if one["role"] == "assistant"]
        assert said
        assert all(one["learned"] is False for one in said)


def test_words_of_the_guard_alone_are_the_guards() -> None:
    for seed in range(5):
        for kind, problem in (
            ("announced_call", ANNOUNCED),
            ("repetition", REPEATED),
            ("unasked_call", UNASKED),
        ):
            refused = KINDS[kind](Random(seed), draw_case(Random(seed), LESSONS))
            assert refused is not None
            assert refused.problems == (problem,)
            assert kind != "announced_call" or announces_step(refused.text)


@pytest.mark.parametrize("may_answer", [True, False])
def test_the_arguments_alone_are_asked_for_in_the_guards_words(may_answer: bool) -> None:
    case = draw_case(Random(5), LESSONS)
    tool = read_tools(list(map(dict, case.tools))).get(case.right.name)
    assert tool is not None
    request = ChatRequest("m", (Message.of(Role.user, "x"),), sampling=Sampling())
    asked = ask_for_arguments(request, tool, may_answer, Sampling())
    assert asked.messages[-1].text == instruction(case, may_answer)
    drawn = alone(case, "required", may_answer)
    assert drawn.form is Form.alone
    assert drawn.messages[-1]["content"] == instruction(case, may_answer)


def test_accepted_is_what_the_ladder_accepts() -> None:
    """The ladder refuses these attempts too, so that nothing right is called wrong."""
    for kind in ("required", "type", "enum", "anyOf", "inner"):
        for seed in range(40):
            rng = Random(f"{kind} {seed}")
            case = draw_case(rng, LESSONS)
            refused = KINDS[kind](rng, case)
            if refused is None:
                continue
            ((name, arguments),) = refused.calls
            tools = read_tools(list(map(dict, case.tools)))
            assert not isinstance(repair_arguments(name, arguments, tools), Accepted)


@pytest.mark.parametrize(("kind", "form"), [*WAYS, ("required", Form.alone)])
def test_what_is_due_was_said(kind: str, form: Form) -> None:
    """Every value stands in a request or in the attempt: nothing has to be invented."""
    for seed in range(20):
        drawn = draw_correction(Random(seed), LESSONS, kind, form)
        said = " ".join(str(one["content"]) + str(one.get("tool_calls", "")) for one in drawn.messages)
        for value in _leaves([dict(call.arguments) for call in drawn.due]):
            assert str(value) in said


def _leaves(value: object) -> Iterator[object]:
    """Texts and numbers in it; yes, no and null have other words."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield value
