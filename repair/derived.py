"""Chooses the format that a model's chat template writes: a known, declared or derived one, proved by it.

What the template writes of known calls must be read back exactly. Detected, declared and derived formats all
have to pass this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from itertools import islice

from repair.formats import FORMATS, Wire
from repair.formats.derive import ONE, Probe, Write, WrittenTurn, derive, is_marker
from repair.formats.row import SHAPES, Row, literal_head, literal_parts
from repair.formats.shapes import RowFormat
from repair.tools import ToolSet
from repair.turn import Turn
from repair.types import FixKind, ReasoningDelta, TextDelta, ToolDefinition

_MOST = 64
_BARE = ("llama3", "bare_json", "bare_python")
_PLAIN_SHAPES = ("objects", "python")
_NO_LITERAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd\ud800-\udfff]")
#: what templates write against their own format: raw line breaks, Python's literals, the end of the turn
_HARMLESS = {
    *(FixKind.raw_control, FixKind.python_literal, FixKind.parse_container),
    *(FixKind.extra_closer, FixKind.special_token),
}
_SAID = "Let me look that up.\n"
_HARD = Probe(
    "check_first",
    {"place": 'Ærø "x" & <b>1</b>', "note": "one\ntwo {}", "count": -7, "flag": True, "digits": "42"},
)
_DEEP = Probe(
    "check_other",
    {"many": ["a", "b]"], "inner": {"k": {"z": [{"q": "}"}, {"q": "x"}]}}, "ratio": 2.5, "empty": {}},
    "qcall0002",
)
_PLAIN = Probe("check_first", {"place": "Oslo"})
_NONE = Probe("check_none", {})
#: calls and the text before them
CHECKS: tuple[tuple[tuple[Probe, ...], str], ...] = (
    ((_PLAIN,), ""),
    ((_HARD,), ""),
    ((_DEEP,), ""),
    ((_NONE,), ""),
    ((_HARD, _DEEP), ""),
    ((_DEEP, _HARD, _PLAIN), ""),
    ((_HARD,), _SAID),
)


@dataclass(frozen=True, slots=True)
class Found:
    """The format that was found.

    format: a name of the table, or a declared or derived format; None: unknown.
    row: its literals, where it is not in the table.
    how: `detected`, `declared`, `derived` or `unknown`.
    """

    format: str | Wire | None
    how: str
    row: Row | None = None


def find_format(
    write: Write, detected: str | None, declared: Iterable[Row] = (), *, any_known: bool = True
) -> Found:
    """The format in which the template's own calls are read back: declared, detected, derived, in this order.

    write: renders a turn.
    detected: a format of the table.
    any_known: all formats of the table are tried in the end.
    """
    for row in declared:
        if is_sound(row) and reads_back(Wire.of(row), write):
            return Found(Wire.of(row), "declared", row)
    if detected is not None and reads_back(detected, write):
        return Found(detected, "detected")
    for row in islice(filter(is_sound, derive(write)), _MOST):
        if reads_back(Wire.of(row), write):
            return Found(Wire.of(row), "derived", row)
    for name in (*_BARE, *FORMATS) if any_known else _BARE:
        if reads_back(name, write):
            return Found(name, "detected" if any_known else "derived")
    return Found(None, "unknown")


def tools_of(probes: Iterable[Probe]) -> list[ToolDefinition]:
    """Definitions of the tools that the probes call."""
    found: dict[str, dict[str, object]] = {}
    for probe in probes:
        properties = {key: _schema(value) for key, value in probe.arguments.items()}
        found.setdefault(probe.name, {}).update(properties)
    return [
        ToolDefinition(name, "For a check.", {"type": "object", "properties": properties})
        for name, properties in found.items()
    ]


def is_sound(row: Row) -> bool:
    """Whether the literals of a row make a format of its shape."""
    return not find_flaw(row)


def find_flaw(row: Row) -> str:
    """Why the literals of a row make no format that can be told from prose and from its own values; or ""."""
    if row.shape not in SHAPES:
        return f"there is no shape {row.shape!r}"
    if "{name}" not in row.call and row.shape not in _PLAIN_SHAPES:
        return "call does not hold {name}"
    if row.shape in ("tags", "pairs") and (
        "{key}" not in row.parameter or not literal_head(row.parameter_end)
    ):
        return "parameter must hold {key}, and parameter_end what ends its value"
    ends = (row.parameter_end, row.call_end, row.section_end)
    if row.shape in ("tags", "pairs") and any(
        one.strip().startswith(literal_head(row.parameter)) for one in ends
    ):
        return "no end may begin as parameter does"
    inner = (*literal_parts(row.parameter), *literal_parts(row.parameter_end))
    last = tuple(one for one in (row.call_end.strip(), row.section_end.strip()) if one)
    if row.shape in ("tags", "pairs") and any(one.startswith(last) for one in inner):
        return "no part of parameter or parameter_end may begin with what ends a call"
    if any(_NO_LITERAL.search(text) for text in _texts(astuple(row))):
        return "control characters and U+FFFD make no literals"
    try:
        form = RowFormat(row)
        if form.form is None and row.shape not in _PLAIN_SHAPES:
            return f"the literals do not fit the shape {row.shape!r}"
    except (ValueError, re.error):
        return f"the literals do not fit the shape {row.shape!r}"
    return _find_vague(form)


def _texts(values: tuple[object, ...]) -> Iterator[str]:
    for one in values:
        if isinstance(one, str):
            yield one
        elif isinstance(one, tuple):
            yield from _texts(one)


def _find_vague(form: RowFormat) -> str:
    """A description of a marker that could be ordinary words; "" where there is none."""
    row = form.row
    markers = {
        "what opens a call": form.OPENERS,
        "dropped": row.dropped,
        "reasoning": tuple(one for pair in row.reasoning for one in pair),
    }
    for place, found in markers.items():
        vague = next((one for one in found if not is_marker(one)), None)
        if vague is not None or not (found or place != "what opens a call"):
            return f"{place} must be a marker: three characters or more, and a sign such as < or [ in it"
    return ""


def reads_back(format: str | Wire, write: Write) -> bool:
    """Whether all that the template writes of CHECKS is read back, at least a plain and a hard call."""
    passed = 0
    for at, (probes, said) in enumerate(CHECKS):
        turn = write(probes, said)
        if said and turn is not None and not _is_beside(turn.text, said, write(probes, "")):
            continue  # the template writes text in another message, or not at all
        if turn is None and at < 2:
            return False
        if turn is not None and not _is_same(format, turn, probes, said):
            return False
        if turn is None:
            continue
        passed += 1
    return passed >= 2


def _is_beside(text: str, said: str, alone: WrittenTurn | None) -> bool:
    """Whether the text directly precedes what is written without it."""
    before, _, behind = text.partition(said)
    return alone is not None and not before.strip() and behind.strip() == alone.text.strip()


def _is_same(format: str | Wire, written: WrittenTurn, probes: tuple[Probe, ...], said: str) -> bool:
    for pieces in ([written.text], list(written.text)):
        turn = Turn(ToolSet.compile(tools_of(probes)), format, generation_prompt=written.prompt)
        deltas: list[TextDelta | ReasoningDelta] = [one for piece in pieces for one in turn.feed(piece)]
        outcome = turn.close("stop")
        deltas += outcome.events
        calls = [(call.name, json.loads(call.arguments)) for call in outcome.calls]
        content = "".join(one.text for one in deltas if isinstance(one, TextDelta)).strip()
        if calls != [(one.name, one.arguments) for one in probes]:
            return False
        if not {fix.kind for fix in outcome.fixes} <= _HARMLESS:
            return False
        if content not in ("", said.strip()) or (said.strip() in written.text and content != said.strip()):
            return False
    return True


def _schema(value: object) -> dict[str, object]:
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case float():
            return {"type": "number"}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array", "items": _schema(value[0])}
        case dict():
            return {"type": "object", "properties": {key: _schema(item) for key, item in value.items()}}
    raise TypeError(f"no probe holds {value!r}")


__all__ = ["CHECKS", "ONE", "Found", "Probe", "Write", "find_format", "reads_back", "tools_of"]
