"""DeepSeek V3.2 (`function_calls`) and V4 (`tool_calls`): tags with a full-width bar that tell the type.

<｜DSML｜tool_calls>
<｜DSML｜invoke name="f">
<｜DSML｜parameter name="k" string="true">v</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜tool_calls>
"""

from __future__ import annotations

import json
import re

from repair.markup import MarkupGrammar
from repair.regions import Region
from repair.tagged import Tagged, read_tagged
from repair.tools import ToolSet
from repair.types import ToolCall

NAME = "dsml"
MARK = "\uff5cDSML\uff5c"
OPEN = f"<{MARK}tool_calls>"
CLOSE = f"</{MARK}tool_calls>"
OLDER, OLDER_END = f"<{MARK}function_calls>", f"</{MARK}function_calls>"
CORRUPTED = (f"<{MARK}toolcalls>", f"<{MARK}functioncalls>")
CORRUPTED_ENDS = (f"</{MARK}toolcalls>", f"</{MARK}functioncalls>")
INVOKE = f"<{MARK}invoke name="
INVOKE_END = f"</{MARK}invoke>"
PARAMETER = f"<{MARK}parameter name="
PARAMETER_END = f"</{MARK}parameter>"
OPENERS = (OPEN, OLDER, *CORRUPTED, INVOKE)
CLOSERS = (CLOSE, OLDER_END, *CORRUPTED_ENDS, INVOKE_END, PARAMETER_END)
REASONING = (("<think>", "</think>"),)

_GRAMMAR = MarkupGrammar(
    open=re.compile(
        rf"<{MARK}parameter name=\"(?P<key>[^\"<>\n]{{1,256}})\"(?:\s+string=\"(?P<typed>true|false)\")?\s*>"
    ),
    close=PARAMETER_END,
    ends=(INVOKE_END,),
    outer=(CLOSE, OLDER_END, *CORRUPTED_ENDS),
    newline=False,
)
FORM = Tagged(
    openers=(OPEN, OLDER, *CORRUPTED),
    closers=(CLOSE, OLDER_END, *CORRUPTED_ENDS),
    call=INVOKE,
    head=re.compile(rf"<{MARK}invoke name=\"(?P<name>[^\"<>\n]{{1,256}})\"(?P<empty>\s*/)?\s*>"),
    grammar=_GRAMMAR,
    parameter=PARAMETER,
    aliases=(OLDER,),
)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    return read_tagged(text, at, FORM, tools)


def render(calls: tuple[ToolCall, ...]) -> str:
    return f"{OPEN}\n" + "\n".join(_render_invoke(one) for one in calls) + f"\n{CLOSE}"


def _render_invoke(call: ToolCall) -> str:
    parts = [f'{INVOKE}"{call.name}">']
    for key, value in json.loads(call.arguments).items():
        typed = "true" if isinstance(value, str) else "false"
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        parts.append(f'{PARAMETER}"{key}" string="{typed}">{text}{PARAMETER_END}')
    return "\n".join([*parts, INVOKE_END])
