"""A specimen: one turn on its way from a true call to damaged text, with its label."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from random import Random
from typing import Any

from repair.formats import FORMATS
from repair.formats.rows import ROWS
from repair.types import ToolCall, ToolDefinition

#: an OpenAI-shaped upstream: the text is the arguments alone
ARGUMENTS = "arguments"
#: the formats that write values without quotes or escapes, so that a marker in a value is a marker
TAGGED = frozenset(
    (
        *("qwen_xml", "glm", "minimax", "dsml", "step3", "seed", "minicpm", "minimax_m3", "hunyuan3", "muse"),
        *(row.name for row in ROWS if row.shape in ("tags", "pairs")),
    )
)
#: of these, those that write values inside objects and arrays without quotes, too
ELEMENTS = frozenset(("minimax_m3",))
GEMMA = frozenset(("gemma4", "function_gemma"))
PYTHON = frozenset(("lfm2", "llama4", "olmo3", "bare_python"))
#: the call is the whole message, and nothing else marks it
BARE = frozenset(("bare_json", "bare_python"))


class Label(StrEnum):
    """How the reader has to treat a specimen.

    recoverable: exactly the true calls.
    destroying: no call at all.
    undecided: the damage leaves more than one reading, or the rules leave it open: the true calls or no call;
        anything else is wrong.
    """

    recoverable = "recoverable"
    destroying = "destroying"
    undecided = "undecided"


class Stage(IntEnum):
    """What is damaged: the values (and names), the JSON text of the arguments, the text of the turn."""

    value = 0
    arguments = 1
    text = 2


@dataclass(frozen=True, slots=True)
class Written:
    """One call as it is written. text: the arguments as JSON, in this writer's own spacing."""

    name: str
    value: dict[str, Any]
    text: str


@dataclass(frozen=True, slots=True)
class Specimen:
    """A turn, and what is known about it.

    truth: the calls that were meant, (name, arguments).
    written: what the text says instead.
    content: what a reader must show beside the calls.
    choice, finish: the turn's `tool_choice` and `finish_reason`.
    done: the malformations so far, by name.
    ask_again: the turn must be refused, because as mere text it would end an agent's run without notice.
    """

    format: str
    tools: tuple[ToolDefinition, ...]
    truth: tuple[tuple[str, dict[str, Any]], ...]
    written: tuple[Written, ...]
    text: str = ""
    label: Label = Label.recoverable
    content: str = ""
    choice: str = "auto"
    finish: str = "stop"
    done: tuple[str, ...] = field(default=())
    ask_again: bool = False

    def tool(self, index: int) -> ToolDefinition:
        """The tool that call `index` means."""
        return next(tool for tool in self.tools if tool.name == self.truth[index][0])

    def rewritten(self, index: int, written: Written) -> Specimen:
        calls = list(self.written)
        calls[index] = written
        return replace(self, written=tuple(calls))

    def valued(self, index: int, value: dict[str, Any]) -> Specimen:
        """Call `index` with other arguments than the true ones."""
        return self.rewritten(index, replace(self.written[index], value=value))

    def meant(self, index: int, value: dict[str, Any]) -> Specimen:
        """Call `index` with other true arguments."""
        truth = list(self.truth)
        truth[index] = (truth[index][0], value)
        return replace(self, truth=tuple(truth))

    def labelled(self, label: Label) -> Specimen:
        """The worse of both labels: damage is not undone by more damage."""
        order = (Label.recoverable, Label.undecided, Label.destroying)
        return replace(self, label=max(self.label, label, key=order.index))


Injector = Callable[[Specimen, Random], Specimen | None]


@dataclass(frozen=True, slots=True)
class Malformation:
    """One kind of damage.

    inject: returns the damaged specimen with its label; None where the damage does not apply.
    alone: it is never combined with another one, because they would interact.
    """

    name: str
    stage: Stage
    inject: Injector
    alone: bool = False


_SLOT = '{"slot": 0}'


def holds_json(format: str) -> bool:
    """Whether the format carries the arguments as JSON text."""
    return format == ARGUMENTS or _SLOT in FORMATS[format].render((ToolCall("probe", _SLOT),))


JSON_FORMATS = frozenset(name for name in (*FORMATS, ARGUMENTS) if holds_json(name))
ALL_FORMATS = (*FORMATS, ARGUMENTS)


def skeleton(format: str, names: tuple[str, ...]) -> list[str]:
    """The text around the arguments of calls in a JSON format: one piece more than there are calls."""
    if format == ARGUMENTS:
        return ["", ""]
    slots = [f'{{"slot": {index}}}' for index in range(len(names))]
    text = FORMATS[format].render(
        tuple(ToolCall(name, slot) for name, slot in zip(names, slots, strict=True))
    )
    pieces = []
    for slot in slots:
        piece, _, text = text.partition(slot)
        pieces.append(piece)
    return [*pieces, text]


def pieces_of(specimen: Specimen) -> list[str]:
    """The skeleton of what is written."""
    return skeleton(specimen.format, tuple(one.name for one in specimen.written))


def render(specimen: Specimen) -> Specimen:
    """The text of the turn from what is written."""
    if specimen.format in JSON_FORMATS:
        pieces = pieces_of(specimen)
        parts = [
            part
            for pair in zip(pieces, (one.text for one in specimen.written), strict=False)
            for part in pair
        ]
        return replace(specimen, text="".join((*parts, pieces[-1])))
    calls = tuple(ToolCall(one.name, json.dumps(one.value, ensure_ascii=False)) for one in specimen.written)
    return replace(specimen, text=FORMATS[specimen.format].render(calls))


def write_arguments(specimen: Specimen, rng: Random) -> Specimen:
    """The values as JSON text, in one of the spacings that models use."""
    style = rng.choice(
        (
            {"separators": (", ", ": ")},
            {"separators": (",", ":")},
            {"indent": 2},
        )
    )
    ascii_only = rng.random() < 0.2
    return replace(
        specimen,
        written=tuple(
            replace(one, text=json.dumps(one.value, ensure_ascii=ascii_only, **style))
            for one in specimen.written
        ),
    )


def inject(specimen: Specimen, malformations: tuple[Malformation, ...], rng: Random) -> Specimen | None:
    """The specimen with all of the damage, in the order of the stages; None where one does not apply."""
    ordered = sorted(malformations, key=lambda one: one.stage)
    seed = rng.random()
    clean = render(write_arguments(specimen, Random(seed)))
    current = specimen
    for stage in Stage:
        if stage is Stage.arguments:
            current = write_arguments(current, Random(seed))
        elif stage is Stage.text:
            current = render(current)
        for one in ordered:
            if one.stage is not stage:
                continue
            if stage is Stage.arguments and current.format not in JSON_FORMATS:
                return None
            damaged = one.inject(current, rng)
            if damaged is None:
                return None
            current = replace(damaged, done=(*current.done, one.name))
    unchanged = (clean.text, clean.choice, clean.finish) == (current.text, current.choice, current.finish)
    return None if unchanged and malformations else current


def equal(left: Any, right: Any) -> bool:
    """Whether two values are equal in JSON Schema: 1 and 1.0 are one number, 1 and true are two values."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow `#/$defs/...` references."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema
