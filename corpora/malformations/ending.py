"""Turns that end in the shape of a call that no reading accepts, and calls with bytes that are not UTF-8.

Such a turn is to be asked again: neither executed nor passed on without notice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from random import Random

from corpora.malformations.specimen import ARGUMENTS, Label, Malformation, Specimen, Stage
from repair.formats import FORMATS
from repair.types import ToolCall

_UNDECLARED = ("search_web", "python", "execute", "final_answer")
_WORDS = ("I will look that up.\n", "Here is the call:\n\n", "\u597d\u7684\u3002\n")
_OBJECTS = (
    "{call}",
    "{words}{call}",
    "```json\n{call}\n```",
    "{words}```\n{call}\n```",
    "```json\n{call}\n{call}\n```",
    "{call}\n{call}",
    "[{call}]",
    "<tools>\n{call}\n</tools>",
    "{words}<tools>\n{call}\n</tools>",
)
_DEFINITIONS = ("{definition}", "```json\n{definition}\n```")
_TAGS = ("<{name}>\n{arguments}\n</{name}>", "{words}<{name}>\n{arguments}\n</{name}>")
_SECTIONS = (
    "{words}<tool_call>",
    "{words}<tool_calls>",
    "{words}[TOOL_CALLS]",
    "{words}<|tool_calls_section_begin|>",
    "{words}<\uff5cDSML\uff5cfunction_calls>",
    '{words}<\u2016DSML\u2016function_calls>\n<\u2016DSML\u2016invoke name="{name}">',
)
_PROBE = ToolCall("probe", '{"slot": 0}')
_WORD = re.compile(r"[A-Za-z]{4,}")


def _ending(frames: tuple[str, ...], declared: bool) -> Callable[[Specimen, Random], Specimen | None]:
    def end(specimen: Specimen, rng: Random) -> Specimen | None:
        if specimen.format == ARGUMENTS:
            return None
        written = specimen.written[0]
        name = written.name if declared else rng.choice(_UNDECLARED)
        if not declared and any(tool.name.casefold() == name for tool in specimen.tools):
            return None
        key = rng.choice(("arguments", "parameters"))
        parameters = next((tool.parameters for tool in specimen.tools if tool.name == name), {})
        slots = {
            "words": rng.choice(_WORDS),
            "name": name,
            "arguments": json.dumps(written.value),
            "call": json.dumps({"name": name, key: written.value}),
            "definition": json.dumps({"name": name, "description": "A tool.", "parameters": parameters}),
        }
        text = re.sub(r"\{(\w+)\}", lambda found: slots[found[1]], rng.choice(frames))
        return replace(specimen, text=text, content=text, ask_again=True).labelled(Label.destroying)

    return end


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text))


def undecodable(specimen: Specimen, rng: Random) -> Specimen | None:
    """U+FFFD, as a decoder writes it for such bytes, in a name, a key or a value; never in a marker, without
    which the call may still be read.
    """
    marks = set() if specimen.format == ARGUMENTS else _words(FORMATS[specimen.format].render((_PROBE,)))
    own = {word for one in specimen.written for word in _words(f"{one.name} {json.dumps(one.value)}")}
    found = [one for one in _WORD.finditer(specimen.text) if one.group() in own - marks]
    if not found:
        return None
    word = rng.choice(found)
    at = rng.randrange(word.start() + 1, word.end())
    text = f"{specimen.text[:at]}\ufffd{specimen.text[at + rng.randrange(2) :]}"
    return replace(specimen, text=text).labelled(Label.destroying)


ENDINGS = (
    Malformation("ends in an object of a call", Stage.text, _ending(_OBJECTS, False), alone=True),
    Malformation("ends in a tool's name as a tag", Stage.text, _ending(_TAGS, True), alone=True),
    Malformation("is a tool's definition", Stage.text, _ending(_DEFINITIONS, True), alone=True),
    Malformation("ends in a section without a call", Stage.text, _ending(_SECTIONS, True), alone=True),
    Malformation("bytes that are no UTF-8", Stage.text, undecodable, alone=True),
)
