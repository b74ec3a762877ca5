"""Checks that are the same in every dialect: stop strings and the tool choice."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from proxy.codecs.fields import describe, refuse
from proxy.conversation.errors import BadRequest
from proxy.conversation.request import ToolChoice, ToolMode

MAX_INT = 2**63 - 1
_MAX_STOPS = 64
_MAX_STOP_LENGTH = 1024


def stop_strings(path: str, values: Sequence[Any]) -> tuple[str, ...]:
    """Those that are not empty. path: of the field that holds them. Raises BadRequest."""
    for i, item in enumerate(values):
        if not isinstance(item, str):
            refuse(f"{path}[{i}]", "a string", item)
        if len(item) > _MAX_STOP_LENGTH:
            told = f"{path}: a string may have {_MAX_STOP_LENGTH} characters, got {len(item)}"
            raise BadRequest(told, param=path)
    if len(values) > _MAX_STOPS:
        raise BadRequest(f"{path}: at most {_MAX_STOPS} strings, got {len(values)}", param=path)
    return tuple(item for item in values if item)


def check_choice(choice: ToolChoice, tools: Collection[str], *, hosted: bool = False) -> None:
    """Raises BadRequest where the choice cannot be met.

    tools: the names of those that can be called.
    hosted: there are tools that an upstream's own provider executes.
    """
    if choice.mode is ToolMode.named and choice.name not in tools:
        known = ", ".join(tools) or "no tools"
        raise BadRequest(
            f"tool_choice: no tool named {describe(choice.name)} in this request, which declares {known}",
            param="tool_choice",
        )
    if choice.mode is ToolMode.required and not tools and not hosted:
        raise BadRequest("tool_choice: required, but this request declares no tools", param="tool_choice")
