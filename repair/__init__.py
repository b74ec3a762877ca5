"""Tool calls out of model text: text and schemas in, calls and findings out.

The package does no I/O and uses no clock, logging or threads. This module is the library's public interface;
the modules behind it may change.

One whole turn of a model, in pieces or at once (docs/repair.md says what is repaired):

    tools = ToolSet.compile([ToolDefinition("get_weather", parameters=schema)])
    turn = Turn(tools)                       # or Turn(tools, detect_format(chat_template))
    deltas = turn.feed(text)                 # text and reasoning that may be shown now
    outcome = turn.close(finish_reason)      # calls, verdict, fixes, problems, and what was still held

One call of an API that sends calls as structure:

    match repair_arguments("get_weather", '{"city": "Oslo", "days": "3",}', tools):
        case Accepted(call, fixes): ...      # call.arguments is JSON text that its schema accepts
        case Rejected(problems): ...         # correction(problems, tools, "get_weather") tells the model why

Recorded outputs, as `fortieth repair` reads them: repair_request (a mapping) and repair_line (JSON text).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repair.formats import detect_format
    from repair.grammar import Grammar, tool_grammar
    from repair.jsonl import LineError, read_tools, repair_arguments, repair_line, repair_request
    from repair.limits import LIMITS
    from repair.reask import correction
    from repair.tools import SchemaError, ToolSet
    from repair.turn import Outcome, Turn, TurnPolicy
    from repair.types import (
        Accepted,
        Fix,
        FixKind,
        Problem,
        ReasoningDelta,
        Rejected,
        TextDelta,
        ToolCall,
        ToolDefinition,
        Verdict,
    )

__all__ = [
    "LIMITS",
    "Accepted",
    "Fix",
    "FixKind",
    "Grammar",
    "LineError",
    "Outcome",
    "Problem",
    "ReasoningDelta",
    "Rejected",
    "SchemaError",
    "TextDelta",
    "ToolCall",
    "ToolDefinition",
    "ToolSet",
    "Turn",
    "TurnPolicy",
    "Verdict",
    "correction",
    "detect_format",
    "read_tools",
    "repair_arguments",
    "repair_line",
    "repair_request",
    "tool_grammar",
]

# Every module of the package imports this one first, and importing the validators' library takes a third of a
# second: so a name is looked up in its module when it is first used.
_MODULES = {
    "repair.formats": ("detect_format",),
    "repair.grammar": ("Grammar", "tool_grammar"),
    "repair.jsonl": ("LineError", "read_tools", "repair_arguments", "repair_line", "repair_request"),
    "repair.limits": ("LIMITS",),
    "repair.reask": ("correction",),
    "repair.tools": ("SchemaError", "ToolSet"),
    "repair.turn": ("Outcome", "Turn", "TurnPolicy"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'repair' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "repair.types")), name)


def __dir__() -> list[str]:
    return __all__
