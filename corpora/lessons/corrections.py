"""Attempts that the guard refuses, in the forms in which it tells the model, and what is then due.

The words are `repair`'s own. What only the guard refuses (a loop, an announcement) has its words here; a test
compares them with the guard's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any

from corpora import lexicon
from corpora.conversations import Message
from corpora.lessons.nested import NestedTool, draw_arguments, invent_tools, say_request
from corpora.lessons.vocabulary import Vocabulary
from corpora.world.base import Call
from repair.jsonl import read_tools, repair_request
from repair.reask import correction
from repair.types import Problem


class Form(StrEnum):
    """How the model is asked again.

    call: the attempt is a call, and the correction is its result.
    text: the attempt is text, and the correction is the user's message.
    alone: the attempt is not shown, and the arguments alone are asked for as a JSON answer.
    """

    call = "call"
    text = "text"
    alone = "alone"


@dataclass(frozen=True, slots=True)
class Case:
    """A request and its one right call. sibling: another call that its tools allow, and the words for it."""

    tools: tuple[Mapping[str, Any], ...]
    messages: tuple[Message, ...]
    right: Call
    sibling: Call
    sibling_said: str

    @property
    def text(self) -> str:
        """The right call as the model would write it."""
        return call_text(self.right.name, dump(self.right.arguments))


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused attempt. calls: (name, arguments) where the attempt was readable as calls.

    problems: why it was refused. shown: the tool whose schema the correction shows.
    due: the calls that are right now, none where words are.
    asked: the messages before the attempt, where they are not those of the case.
    """

    text: str
    problems: tuple[Problem, ...]
    due: tuple[Call, ...]
    calls: tuple[tuple[str, str], ...] = ()
    shown: str | None = None
    before: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] | None = None
    asked: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Corrected:
    """The conversation as the model gets it, and what is due. For Form.alone the due call's arguments are the
    answer, as JSON.
    """

    kind: str
    form: Form
    tools: tuple[Mapping[str, Any], ...]
    messages: tuple[Message, ...]
    due: tuple[Call, ...]


def dump(value: Any) -> str:
    """JSON as the model writes it."""
    return json.dumps(value, ensure_ascii=False)


def call_text(name: str, arguments: str) -> str:
    """A call in the model's own format."""
    return f'<tool_call>\n{{"name": {dump(name)}, "arguments": {arguments}}}\n</tool_call>'


def draw_case(rng: Random, words: Vocabulary, most_tools: int = 5) -> Case:
    """A request over a few nested tools."""
    return case_over(rng, invent_tools(rng, words, rng.randint(2, most_tools)))


def case_over(rng: Random, tools: Sequence[NestedTool]) -> Case:
    """A request over these tools, which are two or more."""
    first, second = rng.sample(tools, 2)
    right, text = wanted(rng, first)
    sibling, said = wanted(rng, second)
    definitions = tuple(one.definition() for one in tools)
    return Case(definitions, ({"role": "user", "content": text},), right, sibling, said)


def wanted(rng: Random, tool: NestedTool) -> tuple[Call, str]:
    """A call of the tool with one argument or more, and the request for it in words."""
    arguments = draw_arguments(rng, tool.fields)
    while not arguments:
        arguments = draw_arguments(rng, tool.fields)
    return Call(tool.name, arguments), say_request(rng, tool, arguments)


def draw_correction(rng: Random, words: Vocabulary, kind: str, form: Form) -> Corrected:
    """A correction of this kind; of the form, where the attempt can have it."""
    while True:
        case = draw_case(rng, words)
        if form is Form.alone:
            return alone(case, kind, may_answer=rng.random() < 0.5)
        refused = KINDS[kind](rng, case)
        if refused is not None:
            return tell(case, refused, kind, form)


def tell(case: Case, refused: Refused, kind: str, form: Form) -> Corrected:
    """The fork of a guarded turn: the attempt, and the correction behind it."""
    definitions = case.tools if refused.tools is None else refused.tools
    told = correction(refused.problems, read_tools(list(map(dict, case.tools))), refused.shown)
    before = (*(refused.asked or case.messages), *refused.before)
    if form is Form.call and refused.calls:
        items = [
            {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, (name, arguments) in enumerate(refused.calls)
        ]
        said: Message = {"role": "assistant", "content": "", "tool_calls": items, "learned": False}
        answers = [{"role": "tool", "tool_call_id": item["id"], "content": told} for item in items]
        return Corrected(kind, Form.call, definitions, (*before, said, *answers), refused.due)
    said = {"role": "assistant", "content": refused.text, "learned": False}
    return Corrected(
        kind, Form.text, definitions, (*before, said, {"role": "user", "content": told}), refused.due
    )


def alone(case: Case, kind: str, may_answer: bool) -> Corrected:
    """The request for the arguments of the right call alone, in the guard's words."""
    asked = {"role": "user", "content": instruction(case, may_answer)}
    return Corrected(kind, Form.alone, (), (*case.messages, asked), (case.right,))


def instruction(case: Case, may_answer: bool) -> str:
    """What the guard says where it asks for arguments alone."""
    schema = next(t["function"]["parameters"] for t in case.tools if t["function"]["name"] == case.right.name)
    lines = [
        f"Now call {case.right.name}. Write its arguments alone, as one JSON object that fits this schema:",
        dump(schema),
    ]
    if may_answer:
        lines.append(
            "If you do not know what the call needs, "
            'write {"cannot_call_because": "what is missing"} instead.'
        )
    return "\n".join(lines)


def judged(case: Case, text: str, rule: str, **asked: Any) -> Refused | None:
    """An attempt that was written as text, with the problems that repair finds in it; None where the rule is
    not among them.
    """
    answer = repair_request({"raw_output": text, "tools": list(case.tools), "format": "hermes", **asked})
    problems = tuple(Problem(one["path"], one["rule"], one["message"]) for one in answer["problems"])
    if not any(problem.rule == rule for problem in problems):
        return None
    return Refused(text, problems, (case.right,))


def _called(
    case: Case, name: str, arguments: Any, rule: str, shown: bool = True, **asked: Any
) -> Refused | None:
    refused = judged(case, call_text(name, dump(arguments)), rule, **asked)
    if refused is None:
        return None
    return replace(refused, calls=((name, dump(arguments)),), shown=case.right.name if shown else None)


def _changed(case: Case, **changes: Any) -> dict[str, Any]:
    return {**case.right.arguments, **changes}


def _required(rng: Random, case: Case) -> Refused | None:
    key = rng.choice(list(case.right.arguments))
    left = {name: value for name, value in case.right.arguments.items() if name != key}
    return _called(case, case.right.name, left, "required")


def _type(rng: Random, case: Case) -> Refused | None:
    key = rng.choice(list(case.right.arguments))
    wrong = rng.choice(({"value": 1}, [[1]], lexicon.invented_word(rng), 7.5))
    return _called(case, case.right.name, _changed(case, **{key: wrong}), "type")


def _deep(rng: Random, case: Case) -> Refused | None:
    """A value inside an object, or of a list of objects, is missing or has another name."""
    deep = [key for key, value in case.right.arguments.items() if isinstance(value, dict | list) and value]
    if not deep:
        return None
    key = rng.choice(deep)
    value = case.right.arguments[key]
    one = value[-1] if isinstance(value, list) else value
    if not isinstance(one, dict):
        return None
    name = rng.choice(list(one))
    less = {inner: it for inner, it in one.items() if inner != name}
    wrong = [*value[:-1], less] if isinstance(value, list) else less
    return _called(case, case.right.name, _changed(case, **{key: wrong}), "required")


def _enum(rng: Random, case: Case) -> Refused | None:
    schema = _properties(case)
    keys = [key for key in case.right.arguments if "enum" in schema[key]]
    if not keys:
        return None
    return _called(
        case, case.right.name, _changed(case, **{rng.choice(keys): lexicon.invented_word(rng)}), "enum"
    )


def _any_of(rng: Random, case: Case) -> Refused | None:
    keys = [key for key in case.right.arguments if "anyOf" in _properties(case)[key]]
    if not keys:
        return None
    return _called(case, case.right.name, _changed(case, **{rng.choice(keys): {"is": 1}}), "anyOf")


def _properties(case: Case) -> Mapping[str, Any]:
    found = next(t["function"] for t in case.tools if t["function"]["name"] == case.right.name)
    properties: Mapping[str, Any] = found["parameters"]["properties"]
    return properties


def _unknown_tool(rng: Random, case: Case) -> Refused | None:
    name = f"{lexicon.invented_word(rng)}_{lexicon.invented_word(rng, 1)}"
    return _called(case, name, case.right.arguments, "unknown_tool", shown=False)


def _wrong_tool(rng: Random, case: Case) -> Refused | None:
    choice = {"type": "function", "function": {"name": case.right.name}}
    return _called(case, case.sibling.name, case.sibling.arguments, "wrong_tool", False, tool_choice=choice)


def _parallel(rng: Random, case: Case) -> Refused | None:
    both = [(one.name, dump(one.arguments)) for one in (case.right, case.sibling)]
    text = "\n".join(call_text(name, arguments) for name, arguments in both)
    refused = judged(case, text, "parallel", parallel_tool_calls=False)
    return refused and replace(refused, calls=tuple(both))


def _loop(rng: Random, case: Case) -> Refused | None:
    """The user wants two things; the first is done again and again."""
    first = (case.sibling.name, dump(case.sibling.arguments))
    done: list[Message] = []
    for i in range(3):
        item = {"id": f"past_{i}", "type": "function", "function": {"name": first[0], "arguments": first[1]}}
        done.append({"role": "assistant", "content": "", "tool_calls": [item], "learned": False})
        done.append({"role": "tool", "tool_call_id": f"past_{i}", "content": '{"status": "done"}'})
    problem = Problem("", "loop", "4 times the same call with the same result, and nothing changes")
    return Refused(call_text(*first), (problem,), (case.right,), (first,), None, tuple(done))


def _truncated(rng: Random, case: Case) -> Refused | None:
    end = len(case.text) - len("}\n</tool_call>")
    return judged(case, case.text[: rng.randrange(20, end)], "truncated", finish_reason="length")


def _syntax(rng: Random, case: Case) -> Refused | None:
    text = case.text
    broken = rng.choice(
        (text.replace('": "', '": ', 1), text.replace(", ", " ", 1), text.replace(":", "", 2))
    )
    return judged(case, broken, "syntax")


def _broken_markers(rng: Random, case: Case) -> Refused | None:
    inner = case.text.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
    forms = (f"tool_call> {inner}", f"<tool_cal\n{inner}", f"<tool_ {inner} </tool_", f"</tool_call>{inner}<")
    return judged(case, rng.choice(forms), "broken_markers")


def _misplaced(rng: Random, case: Case) -> Refused | None:
    forms = ("is what I would call.", "That is the call.", "and then I look at it.", "would do it.")
    text = case.text if rng.random() < 0.5 else case.text.replace("\n", "")
    return judged(case, f"{text} {rng.choice(forms)}", "misplaced_call")


def _undecodable(rng: Random, case: Case) -> Refused | None:
    texts = [key for key, value in case.right.arguments.items() if isinstance(value, str) and len(value) > 2]
    if not texts:
        return None
    key = rng.choice(texts)
    value = str(case.right.arguments[key])
    at = rng.randrange(1, len(value))
    broken = _changed(case, **{key: value[:at] + "\ufffd" + value[at + 1 :]})
    return judged(case, call_text(case.right.name, dump(broken)), "undecodable")


def _missing_name(rng: Random, case: Case) -> Refused | None:
    return judged(
        case, f'<tool_call>\n{{"arguments": {dump(case.right.arguments)}}}\n</tool_call>', "missing_name"
    )


def _call_required(rng: Random, case: Case) -> Refused | None:
    said = rng.choice(("All right.", "Of course.", "That can be done.", "Yes."))
    return judged(case, said, "call_required", tool_choice="required")


def _announced(rng: Random, case: Case) -> Refused | None:
    said = rng.choice(("Let me do that now.", "I will look at it now.", "Next, I will call the tool."))
    problem = Problem("", "announced_call", "the answer announces a step, and no call of a tool came with it")
    return Refused(said, (problem,), (case.right,))


def _unasked(rng: Random, case: Case) -> Refused | None:
    problem = Problem("", "unasked_call", "a call was written where none may be made")
    return Refused(case.text, (problem,), (), tools=())


def _repetition(rng: Random, case: Case) -> Refused | None:
    word = lexicon.phrase(rng, 1, 3)
    problem = Problem("", "repetition", "the answer repeated itself word for word and was stopped")
    return Refused(" ".join([word] * 6), (problem,), (case.right,))


def _block(rng: Random, case: Case) -> Refused | None:
    both = (case.right, case.sibling)
    text = "\n".join(call_text(one.name, dump(one.arguments)) for one in both)
    told = Problem("", "block", "none of these 2 calls was executed: send all of them again")
    cut = judged(case, text[: -len(dump(case.sibling.arguments)) // 2], "truncated", finish_reason="length")
    asked: Message = {"role": "user", "content": f"{case.messages[0]['content']}\n\n{case.sibling_said}"}
    return cut and replace(cut, problems=(*cut.problems, told), due=both, asked=(asked,))


def _call_count(rng: Random, case: Case) -> Refused | None:
    both = [(one.name, dump(one.arguments)) for one in (case.right, case.sibling)]
    text = "\n".join(call_text(name, arguments) for name, arguments in both)
    problem = Problem("", "call_count", "1 calls were due, 2 came")
    return Refused(text, (problem,), (case.right,), tuple(both))


def _untyped(rng: Random, case: Case) -> Refused | None:
    key = rng.choice(list(case.right.arguments))
    message = f"{str(case.right.arguments[key])[:80]!r} has no single reading under its schema"
    return Refused(case.text, (Problem(f"/{key}", "untyped", message),), (case.right,), (), case.right.name)


def _grammar(rng: Random, case: Case) -> Refused | None:
    texts = [key for key, value in case.right.arguments.items() if isinstance(value, str) and len(value) > 3]
    if not texts:
        return None
    key = rng.choice(texts)
    value = str(case.right.arguments[key])
    at = rng.randrange(1, len(value))
    wrong = dump(_changed(case, **{key: value[:at] + "!!" + value[at:]}))
    rest = dump("!!" + value[at : at + 20])
    message = f"{rest} stands in line 1, at character {at + 1}, where something else is due"
    refused = Problem(f"/{key}", "grammar", message)
    text = call_text(case.right.name, wrong)
    return Refused(text, (refused,), (case.right,), ((case.right.name, wrong),), case.right.name)


#: by the rule of the guard's message
KINDS: Mapping[str, Callable[[Random, Case], Refused | None]] = {
    "required": _required, "type": _type, "inner": _deep, "enum": _enum, "anyOf": _any_of,
    "unknown_tool": _unknown_tool, "wrong_tool": _wrong_tool, "parallel": _parallel, "loop": _loop,
    "truncated": _truncated, "syntax": _syntax, "broken_markers": _broken_markers,
    "misplaced_call": _misplaced, "undecodable": _undecodable, "missing_name": _missing_name,
    "call_required": _call_required, "announced_call": _announced, "unasked_call": _unasked,
    "repetition": _repetition, "block": _block, "call_count": _call_count, "untyped": _untyped,
    "grammar": _grammar,
}  # fmt: skip


def forms_of(kind: str) -> Sequence[Form]:
    """The forms that a kind's attempts can have; the arguments alone are asked for whatever was wrong."""
    as_calls = {
        "required", "type", "inner", "enum", "anyOf", "unknown_tool", "wrong_tool", "parallel", "loop",
        "call_count", "grammar",
    }  # fmt: skip
    return (Form.call, Form.text) if kind in as_calls else (Form.text,)
