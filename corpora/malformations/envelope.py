"""Damage around the call: markers, brackets, the end of the text, what stands beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from corpora.malformations.specimen import (
    ARGUMENTS,
    BARE,
    JSON_FORMATS,
    PYTHON,
    Label,
    Malformation,
    Specimen,
    Stage,
    pieces_of,
    resolve,
)
from corpora.malformations.syntax import tokens
from repair.formats import FORMATS
from repair.formats.rows import ROWS
from repair.types import ToolCall

_BRACKETS = re.compile(r"[\s}\]]*")
#: what ends the list of arguments, in the formats that are not JSON
_TERMINATORS = {
    "qwen_xml": "</function>",
    "seed": "</function>",
    "minicpm": "</function>",
    "glm": "</tool_call>",
    "minimax": "</invoke>",
    "dsml": "</\uff5cDSML\uff5cinvoke>",
    "step3": "</steptml:invoke>",
    "olmo3": ")",
    **dict.fromkeys(("lfm2", "llama4", "bare_python"), "]"),
    **dict.fromkeys(("gemma4", "function_gemma"), "}"),
    "minimax_m3": "]<]minimax[>[</invoke>",
    "hunyuan3": "</tool_call:opensource>",
    "muse": "</atem:invoke>",
    **{row.name: row.call_end.strip() for row in ROWS if row.shape in ("tags", "pairs")},
}
#: without their opening marker these begin with a name, or have nothing that says which call it is
_LOST_WITH_OPENER = frozenset(
    (
        *("glm", "mistral", "hunyuan", "harmony", "apertus", "function_gemma", "ifm", "iquest"),
        *("iquest_coder", "inkling", "muse", "telechat", "step_audio", "cwm", "solar2"),
    )
)
#: what ends a message of theirs ends reasoning too, so that a draft in it is a call
_NO_DRAFTS = frozenset(("harmony", "gemma4", "muse", "inkling"))
_PROSE = ("Let me look that up.", "Sure, one moment!", "I will call the tool now:", "Okay.\n\nHere it is.")
_AFTER = ("I hope this helps.", "Done, see above.", "Waiting for the result now")


def _tail(specimen: Specimen) -> tuple[str, str]:
    """What follows the last arguments of a JSON format: the brackets of the envelope, and its markers."""
    tail = pieces_of(specimen)[-1]
    found = _BRACKETS.match(tail)
    brackets = found.group().rstrip() if found else ""
    return brackets, tail[len(brackets) :]


def _end_of_arguments(specimen: Specimen) -> int:
    """Index of the last thing without which the arguments (or their list) are not complete; -1: unknown."""
    if specimen.format in JSON_FORMATS:
        brackets, markers = _tail(specimen)
        if not specimen.text.endswith(brackets + markers):
            return -1
        return len(specimen.text) - len(markers) - 1
    return specimen.text.rfind(_TERMINATORS[specimen.format])


def _begin_of_last(specimen: Specimen) -> int:
    """Where a cut cannot leave a whole turn: inside the last arguments, or, of one call, anywhere."""
    if len(specimen.written) == 1:
        return 1
    if specimen.format not in JSON_FORMATS:
        return -1
    return specimen.text.rfind(specimen.written[-1].text) + 1


def _cut(specimen: Specimen, at: int, rng: Random) -> Specimen:
    text = specimen.text[:at]
    finish = rng.choice(("stop", "stop", "length", "tool_calls"))
    return replace(specimen, text=text, finish=finish).labelled(Label.destroying)


def cut_anywhere(specimen: Specimen, rng: Random) -> Specimen | None:
    """The text ends before the arguments do."""
    first, last = _begin_of_last(specimen), _end_of_arguments(specimen)
    return _cut(specimen, rng.randint(first, last), rng) if 0 < first <= last else None


def _cut_in(fits: Callable[[str, bool], bool]) -> Callable[[Specimen, Random], Specimen | None]:
    def cut(specimen: Specimen, rng: Random) -> Specimen | None:
        if specimen.format not in JSON_FORMATS or _end_of_arguments(specimen) < 0:
            return None
        written = specimen.written[-1]
        start = specimen.text.rfind(written.text)
        found = [one for one in tokens(written.text) if fits(one.text, one.is_key) and len(one.text) > 1]
        if not found or start < 0:
            return None
        token = rng.choice(found)
        return _cut(specimen, start + rng.randint(token.start + 1, token.end - 1), rng)

    return cut


cut_in_string = _cut_in(lambda text, is_key: text[0] == '"' and not is_key)
cut_in_key = _cut_in(lambda text, is_key: is_key)
cut_in_scalar = _cut_in(lambda text, is_key: text[0] not in '"{}[]:,')


def cut_before_terminator(specimen: Specimen, rng: Random) -> Specimen | None:
    """Every value is complete, yet more could have followed."""
    last = _end_of_arguments(specimen)
    return _cut(specimen, last, rng) if last > 0 else None


def missing_brackets(specimen: Specimen, rng: Random) -> Specimen | None:
    """Closing brackets lost at the end of the call, its closing marker in place."""
    if specimen.format not in JSON_FORMATS:
        return None
    brackets, markers = _tail(specimen)
    if not markers or not specimen.text.endswith(brackets + markers):
        return None
    body = specimen.text[: len(specimen.text) - len(markers)]
    run = re.search(r"[\s}\]]*\Z", body)
    closers = [at for at in range(run.start() if run else 0, len(body)) if body[at] in "}]"]
    count = rng.randint(1, len(closers))
    damaged = replace(specimen, text=body[: closers[-count]].rstrip() + markers)
    call = len(specimen.written) - 1
    schema = specimen.tool(call).parameters
    single = _has_one_place(specimen.truth[call][1], schema, schema)
    return damaged.labelled(Label.recoverable if single else Label.undecided)


def _has_one_place(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Whether a lost bracket can only be lost at the end: no inner container could have ended earlier and
    left its last entries to a parent that takes them.
    """
    schema = resolve(schema, root)
    if isinstance(value, list):
        nested = [one for one in value if isinstance(one, list)]
        items = schema.get("items", {})
        return all(len(one) < 2 for one in nested) and all(_has_one_place(one, items, root) for one in value)
    if not isinstance(value, dict):
        return True
    closed = schema.get("additionalProperties") is False
    for key, item in value.items():
        if isinstance(item, dict) and len(item) > 1 and not closed:
            return False
        if not _has_one_place(item, schema.get("properties", {}).get(key, {}), root):
            return False
    return True


def _closing_marker(specimen: Specimen) -> str | None:
    """The one literal at the end of the text that closes the envelope."""
    if specimen.format == ARGUMENTS:
        return None
    closers = FORMATS[specimen.format].CLOSERS
    return next((one for one in closers if specimen.text.endswith(one)), None)


def missing_closing_marker(specimen: Specimen, rng: Random) -> Specimen | None:
    """Lost, or lost in part. Where it alone ends the arguments, more of them could have followed."""
    marker = _closing_marker(specimen)
    if marker is None or marker == _TERMINATORS.get(specimen.format):
        return None
    kept = rng.choice((0, 0, len(marker) - 1, len(marker) // 2))
    return replace(specimen, text=specimen.text[: len(specimen.text) - len(marker) + kept])


def out_of_tokens_before_marker(specimen: Specimen, rng: Random) -> Specimen | None:
    """The arguments are whole, the limit was reached before the only closing marker. A list that is closed
    cannot go on.
    """
    marker = _closing_marker(specimen)
    if marker is None or specimen.format not in JSON_FORMATS or _tail(specimen)[1].strip() != marker:
        return None
    listed = "]" in _tail(specimen)[0]
    damaged = replace(specimen, text=specimen.text.removesuffix(marker), finish="length")
    return damaged.labelled(Label.undecided if listed else Label.destroying)


def special_token_for_marker(specimen: Specimen, rng: Random) -> Specimen | None:
    """The model ended its turn instead of the call."""
    marker = _closing_marker(specimen)
    if marker is None or marker == _TERMINATORS.get(specimen.format) or specimen.format == "harmony":
        return None
    token = rng.choice(("<|im_end|>", "<|eot_id|>", "</s>"))
    return replace(specimen, text=specimen.text.removesuffix(marker).rstrip() + token)


def missing_opening_marker(specimen: Specimen, rng: Random) -> Specimen | None:
    """Only where what is left still shows where the call begins."""
    if specimen.format in (ARGUMENTS, "functionary", "calling", "minicpm") or len(specimen.written) > 1:
        return None
    openers = FORMATS[specimen.format].OPENERS
    marker = next((one for one in openers if specimen.text.startswith(one)), None)
    if marker is None or specimen.format == "olmo3":
        return None
    return replace(specimen, text=specimen.text.removeprefix(marker).lstrip("\n")).labelled(
        Label.undecided if specimen.format in _LOST_WITH_OPENER else Label.recoverable
    )


def broken_marker(specimen: Specimen, rng: Random) -> Specimen | None:
    """One character of the first or the last marker lost or doubled."""
    if specimen.format == ARGUMENTS:
        return None
    markers = [one for one in FORMATS[specimen.format].OPENERS if specimen.text.startswith(one)]
    last = _closing_marker(specimen)
    starts = [0] * bool(markers) + [len(specimen.text) - len(last or "")] * bool(last)
    if not starts:
        return None
    start = rng.choice(starts)
    size = len(markers[0]) if start == 0 else len(last or "")
    at = start + rng.randrange(size)
    text = specimen.text[:at] + rng.choice(("", specimen.text[at] * 2)) + specimen.text[at + 1 :]
    return replace(specimen, text=text).labelled(Label.undecided)


def end_of_a_marker(specimen: Specimen, rng: Random) -> Specimen | None:
    """All of the first marker is lost but its end (`>{"name": ...}`)."""
    if specimen.format == ARGUMENTS:
        return None
    marker = next((one for one in FORMATS[specimen.format].OPENERS if specimen.text.startswith(one)), "")
    if len(marker.strip()) < 2:
        return None
    left = marker.rstrip()[-1] + specimen.text[len(marker) :].lstrip("\n")
    return replace(specimen, text=left).labelled(Label.undecided)


def prose_before(specimen: Specimen, rng: Random) -> Specimen | None:
    """A call that nothing but its being the whole message marks is none beside prose."""
    if specimen.format == ARGUMENTS:
        return None
    prose = rng.choice(_PROSE)
    damaged = replace(specimen, text=f"{prose}\n{specimen.text}", content=prose)
    return damaged.labelled(Label.destroying) if specimen.format in BARE else damaged


def prose_after(specimen: Specimen, rng: Random) -> Specimen | None:
    if specimen.format == ARGUMENTS:
        return None
    prose = rng.choice(_AFTER)
    damaged = replace(specimen, text=f"{specimen.text}\n{prose}", content=prose)
    return damaged.labelled(Label.destroying) if specimen.format in BARE else damaged


def byte_order_mark(specimen: Specimen, rng: Random) -> Specimen | None:
    return replace(specimen, text="\ufeff" + specimen.text)


def white_space(specimen: Specimen, rng: Random) -> Specimen | None:
    """Around the whole turn."""
    return replace(
        specimen, text=rng.choice(("\n\n", " ", "\r\n")) + specimen.text + rng.choice(("\n", "  "))
    )


def in_a_fence(specimen: Specimen, rng: Random) -> Specimen | None:
    """A fence around the whole message. Around markers it may be an example."""
    if specimen.format == ARGUMENTS:
        return None
    language = "tool_code" if specimen.format in PYTHON else rng.choice(("json", ""))
    damaged = replace(specimen, text=f"```{language}\n{specimen.text}\n```")
    return damaged if specimen.format in BARE else damaged.labelled(Label.undecided)


def fenced_example(specimen: Specimen, rng: Random) -> Specimen | None:
    """A fence in prose shows a call; it makes none."""
    if specimen.format == ARGUMENTS:
        return None
    text = f"A call looks like this:\n```\n{specimen.text}\n```\nShall I make it?"
    return replace(specimen, text=text, content=text).labelled(Label.destroying)


def echo_outside(specimen: Specimen, rng: Random) -> Specimen | None:
    """The content of the envelope once more behind it."""
    if specimen.format not in ("hermes", "longcat", "nemotron", "hunyuan_a13b", "internlm"):
        return None
    opener = next(one for one in FORMATS[specimen.format].OPENERS if specimen.text.startswith(one))
    marker = _closing_marker(specimen)
    if marker is None or len(specimen.written) > 1:
        return None
    inner = specimen.text.removeprefix(opener).removesuffix(marker).removeprefix("<|plugin|>").strip()
    return replace(specimen, text=f"{specimen.text}\n{inner}")


def two_in_one_envelope(specimen: Specimen, rng: Random) -> Specimen | None:
    """Several calls in one pair of tags, one after the other or as a list."""
    if specimen.format not in ("hermes", "longcat") or len(specimen.written) < 2:
        return None
    opener, closer = FORMATS[specimen.format].OPENERS[0], FORMATS[specimen.format].CLOSERS[0]
    calls = [f'{{"name": {json.dumps(one.name)}, "arguments": {one.text}}}' for one in specimen.written]
    inner = rng.choice(("\n".join(calls), f"[{', '.join(calls)}]"))
    return replace(specimen, text=f"{opener}\n{inner}\n{closer}")


def calls_forbidden(specimen: Specimen, rng: Random) -> Specimen | None:
    """`tool_choice: none`: what comes is text."""
    if specimen.format == ARGUMENTS:
        return None
    return replace(specimen, choice="none", content=specimen.text).labelled(Label.destroying)


def draft_in_reasoning(specimen: Specimen, rng: Random) -> Specimen | None:
    """A call that was thought of, and then an answer."""
    pairs = () if specimen.format == ARGUMENTS else FORMATS[specimen.format].REASONING
    if not pairs or specimen.format in _NO_DRAFTS:
        return None
    opener, closer = rng.choice(pairs)
    text = f"{opener}I could write\n{specimen.text}\nbut no.{closer}The answer is 4."
    return replace(specimen, text=text, content="The answer is 4.").labelled(Label.destroying)


def marker_in_value(specimen: Specimen, rng: Random) -> Specimen | None:
    """Another complete call, of any format, inside a string. Where strings have no quotes it may also
    end the value.
    """
    call = rng.randrange(len(specimen.written))
    value, properties = specimen.written[call].value, specimen.tool(call).parameters["properties"]
    keys = [
        key
        for key, one in value.items()
        if isinstance(one, str) and properties.get(key) and properties[key].get("type") == "string"
    ]
    keys = [key for key in keys if "enum" not in properties[key]]
    if not keys:
        return None
    other = rng.choice(tuple(FORMATS.values()))
    inner = other.render((_call_of(specimen, rng),))
    text = rng.choice(
        (f"see {inner} there", inner, f"{inner} there", rng.choice((*other.CLOSERS, "x")) + " y")
    )
    key = rng.choice(keys)
    meant = specimen.meant(call, {**specimen.truth[call][1], key: text})
    damaged = meant.valued(call, {**value, key: text})
    safe = specimen.format in JSON_FORMATS | PYTHON
    return damaged.labelled(Label.recoverable if safe else Label.undecided)


def _call_of(specimen: Specimen, rng: Random) -> ToolCall:
    tool = rng.choice(specimen.tools)
    return ToolCall(tool.name, json.dumps(dict.fromkeys(tool.parameters["properties"], "evil")))


_TABLE: dict[str, tuple[Callable[[Specimen, Random], Specimen | None], bool]] = {
    "cut anywhere": (cut_anywhere, False),
    "cut in a string": (cut_in_string, False),
    "cut in a key": (cut_in_key, False),
    "cut in a number or literal": (cut_in_scalar, False),
    "cut before the end of the list": (cut_before_terminator, True),
    "missing closing brackets": (missing_brackets, True),
    "missing closing marker": (missing_closing_marker, True),
    "out of tokens before the marker": (out_of_tokens_before_marker, True),
    "turn ended instead of the call": (special_token_for_marker, True),
    "missing opening marker": (missing_opening_marker, True),
    "broken marker": (broken_marker, True),
    "end of a marker": (end_of_a_marker, True),
    "prose before": (prose_before, False),
    "prose after": (prose_after, False),
    "byte-order mark first": (byte_order_mark, False),
    "white space around": (white_space, False),
    "in a markdown fence": (in_a_fence, True),
    "fenced example": (fenced_example, True),
    "echo outside the envelope": (echo_outside, True),
    "several calls in one envelope": (two_in_one_envelope, True),
    "tool_choice none": (calls_forbidden, True),
    "draft in reasoning": (draft_in_reasoning, True),
}
ENVELOPE = (
    *(Malformation(name, Stage.text, one, alone) for name, (one, alone) in _TABLE.items()),
    Malformation("a call inside a value", Stage.value, marker_in_value, alone=True),
)
