"""Hunyuan 3 and 4: GLM's tags in a section, all with the suffix of the checkpoint; 4 has no separator.

<tool_calls:6124c78e>
<tool_call:6124c78e>f<tool_sep:6124c78e>
<arg_key:6124c78e>k</arg_key:6124c78e>
<arg_value:6124c78e>v</arg_value:6124c78e>
</tool_call:6124c78e>
</tool_calls:6124c78e>
"""

from __future__ import annotations

import functools
import re

from repair.formats.pairs import Pairs, read_pairs
from repair.regions import Region
from repair.tools import ToolSet
from repair.types import ToolCall
from repair.values import plain_parameters

NAME = "hunyuan3"
SUFFIX = ":opensource"
SECTION = "<tool_calls:"
PLAIN = "<tool_calls>"
CALL = f"<tool_call{SUFFIX}>"
OPENERS = (f"<tool_calls{SUFFIX}>", SECTION, PLAIN, CALL)
CLOSERS = (
    f"</tool_calls{SUFFIX}>",
    "</tool_calls>",
    "</tool_calls:",
    "</tool_call:",
    "</arg_value:",
    "</arg_value>",
)
REASONING = (("<think:opensource>", "</think:opensource>"),)

_OPENER = re.compile(r"<tool_calls?(?P<suffix>(?::[\w.-]{1,40})?)>")


@functools.lru_cache(maxsize=64)
def form_for(suffix: str) -> Pairs:
    """The tags with this suffix, "" or one with its colon."""
    names = ("tool_call", "arg_key", "arg_value")
    (call, call_end), (key, key_end), (value, value_end) = (
        (f"<{one}{suffix}>", f"</{one}{suffix}>") for one in names
    )
    section, separator = f"tool_calls{suffix}>", f"<tool_sep{suffix}>"
    return Pairs(
        call, call_end, key, key_end, value, value_end, f"<{section}", f"</{section}", separator=separator
    )


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    found = _OPENER.match(text, at)
    return read_pairs(text, at, form_for(found.group("suffix")), tools) if found else None


def render(calls: tuple[ToolCall, ...], suffix: str = SUFFIX) -> str:
    form = form_for(suffix)
    parts = [form.section]
    for call in calls:
        parts.append(f"{form.open}{call.name}{form.separator}")
        parts += [
            f"{form.key}{key}{form.key_end}\n{form.value}{text}{form.value_end}"
            for key, text in plain_parameters(call.arguments)
        ]
        parts.append(form.close)
    return "\n".join([*parts, form.section_end])
