"""Problems -> the correction message that the model sees, after its own refused attempt."""

from __future__ import annotations

import json
from collections.abc import Sequence

from repair.tools import ToolSet
from repair.types import Problem

_HINTS = {
    "truncated": "The call was cut off. Send it again, complete and shorter if needed.",
    "unknown_tool": "Call only declared tools, by their exact names.",
    "missing_name": "Name the tool in the call.",
    "call_required": "Answer with a tool call.",
    "untyped": "Write the value so that its type is plain.",
}
_GENERAL = "Send the call again with exactly the arguments you meant, as valid JSON that fits the schema."


def correction(problems: Sequence[Problem], tools: ToolSet, tool_name: str | None = None) -> str:
    """Plain text, one line per problem, then what to do. The tool's schema is quoted when it is known."""
    lines = ["The tool call was not executed:"]
    for problem in problems:
        where = f"{problem.path}: " if problem.path else ""
        lines.append(f"- {where}{problem.message}")
    rules = dict.fromkeys(problem.rule for problem in problems)
    hints = [_HINTS[rule] for rule in rules if rule in _HINTS]
    lines += hints or [_GENERAL]
    tool = tools.get(tool_name) if tool_name else None
    if tool is not None:
        schema = json.dumps(tool.definition.parameters, ensure_ascii=False)
        lines.append(f"The parameters of {tool.name} are: {schema}")
    return "\n".join(lines)
