"""Chat templates and the calls in them: `python -m tests.bench.templates FOLDER`, a folder of *.jinja files.

For each template: the format in which its own calls are read back, how that was found, and whether a
history of three turns (a call, its result, words; a question; two calls and their results) keeps every call:
its name and each of its values must stand in the prompt, and what the template wrote of it must be read back
exactly. The prompt is written as the server writes it. The tokenizer is the bundled model's.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import InvalidRequest
from engine.resolve import resolve_model
from engine.template import ChatTemplate
from proxy.conversation.message import Message, PastCall, Role
from proxy.conversation.request import ChatRequest
from proxy.prompts.boundaries import write_prompt
from proxy.upstreams.wire import find_wire, writer, writes_calls
from repair.derived import Found, tools_of
from repair.events import Calls
from repair.formats import FORMATS, Wire
from repair.formats.derive import Probe
from repair.ladder import repair_call
from repair.stream import StreamParser
from repair.strict import encode
from repair.tools import ToolSet
from repair.turn import Turn
from repair.types import Accepted

FIRST = Probe("check_first", {"place": "Qplace one", "days": 3}, "call00001")
SECOND = Probe("check_second", {"note": 'Qnote "two"', "flag": True}, "call00002")
THIRD = Probe("check_third", {"kind": "Qkind three", "many": ["Qa", "Qb"]}, "call00003")
TOOLS = tuple(tools_of((FIRST, SECOND, THIRD)))
FORMS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of one template. history: "exact", or what is missing."""

    name: str
    found: Found
    history: str


def history(text_beside: str = "") -> tuple[Message, ...]:
    """Three turns, the last one open: the model is asked to go on behind two results."""

    def asked(*probes: Probe, text: str = "") -> Message:
        calls = tuple(PastCall(one.id, one.name, encode(one.arguments)) for one in probes)
        return Message.of(Role.assistant, text, calls=calls)

    def result(probe: Probe) -> Message:
        return Message.of(Role.tool, f"Qresult of {probe.name}", call_id=probe.id, name=probe.name)

    return (
        Message.of(Role.user, "Qquestion one"),
        asked(FIRST, text=text_beside),
        result(FIRST),
        Message.of(Role.assistant, "Qanswer one"),
        Message.of(Role.user, "Qquestion two"),
        asked(SECOND, THIRD, text=text_beside),
        result(SECOND),
        result(THIRD),
    )


def check(name: str, template: ChatTemplate) -> Row:
    """The row of one template."""
    found = find_wire(template)
    if found.format is None and not writes_calls(template):
        return Row(name, found, "writes no calls")
    try:
        prompt = write_prompt(template, ChatRequest("", history(), TOOLS)).plain
    except InvalidRequest as error:
        return Row(name, found, f"refused: {error.message[:80]}")
    missing = list(missing_from(prompt))
    if missing:
        return Row(name, found, f"left out: {', '.join(missing)}")
    lost = [
        "+".join(one.name for one in probes)
        for probes in ((FIRST,), (SECOND, THIRD))
        if not stands(template, found, prompt, probes) and not is_in(found, behind(prompt, probes), probes)
    ]
    return Row(name, found, f"not read back: {', '.join(lost)}" if lost else "exact")


def missing_from(prompt: str) -> Iterator[str]:
    """Names, values, results and words of the history that do not stand behind the question."""
    at = prompt.rfind("Qquestion one")
    told = prompt[at:]
    for probe in (FIRST, SECOND, THIRD):
        if at < 0 or probe.name not in told.replace(f"Qresult of {probe.name}", ""):
            yield probe.name
        for value in probe.arguments.values():
            for leaf in value if isinstance(value, list) else [value]:
                spellings = {str(leaf), json.dumps(leaf), json.dumps(leaf)[1:-1]}
                if not any(one in told for one in spellings):
                    yield str(leaf)
        if f"Qresult of {probe.name}" not in told:
            yield f"the result of {probe.name}"
    if "Qanswer one" not in told:
        yield "the words between"


def stands(template: ChatTemplate, found: Found, prompt: str, probes: Sequence[Probe]) -> bool:
    """Whether the turn of `probes`, as the template writes it, stands in `prompt` and is read back; where the
    template takes only one call a turn, each by itself.
    """
    for form in range(FORMS):
        turn = writer(template, form)(tuple(probes), "")
        if turn is None or turn.text.strip() not in prompt:
            continue
        assert found.format is not None
        reader = Turn(ToolSet.compile(TOOLS), found.format, generation_prompt=turn.prompt)
        reader.feed(turn.text)
        calls = [(one.name, json.loads(one.arguments)) for one in reader.close("stop").calls]
        return calls == [(one.name, one.arguments) for one in probes]
    return len(probes) > 1 and all(stands(template, found, prompt, (one,)) for one in probes)


def behind(prompt: str, probes: Sequence[Probe]) -> str:
    """What stands between the question and the last result of `probes`."""
    question = "Qquestion one" if FIRST in probes else "Qquestion two"
    text = prompt[prompt.rfind(question) + len(question) :]
    return text.partition(f"Qresult of {probes[-1].name}")[0]


def is_in(found: Found, text: str, probes: Sequence[Probe]) -> bool:
    """Whether the calls in `text`, in which other things stand around them, are those of `probes`: templates
    write a turn of the past without its reasoning, or number its calls otherwise.
    """
    assert found.format is not None
    tools = ToolSet.compile(TOOLS)
    known = found.format.formats if isinstance(found.format, Wire) else (FORMATS[found.format],)
    starts = [at for one in known for opener in one.OPENERS if (at := text.find(opener)) >= 0]
    text = text[min(starts, default=0) :]
    regions = [one for one in StreamParser(tools, found.format).read_all(text) if isinstance(one, Calls)]
    outcomes = [repair_call(call, tools) for one in regions for call in one.region.calls]
    calls = [(one.call.name, json.loads(one.call.arguments)) for one in outcomes if isinstance(one, Accepted)]
    return len(calls) == len(outcomes) and calls == [(one.name, one.arguments) for one in probes]


def tokenizer() -> Any:
    """The bundled model's, with a token for the beginning: some templates write one, and it has none."""
    from transformers import AutoTokenizer  # heavy, as in engine.template

    found = AutoTokenizer.from_pretrained(str(resolve_model(None)), local_files_only=True)
    found.bos_token = "<s>"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    own = tokenizer()
    rows = [
        check(one.stem, ChatTemplate(own, one.read_text("utf-8"))) for one in sorted(folder.glob("*.jinja"))
    ]
    print("| template | format | how | history of three turns |\n|---|---|---|---|")
    for row in rows:
        format = row.found.row.name if row.found.row else row.found.format or ""
        print(f"| {row.name} | {format} | {row.found.how} | {row.history} |")
    print(f"\n{len(rows)} templates: {dict(Counter(row.history.partition(':')[0] for row in rows))}")


if __name__ == "__main__":
    main()
