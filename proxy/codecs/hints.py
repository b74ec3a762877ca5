"""What a body says besides the request itself: which tools are polled. Never a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

POLLING = "x-fortieth-polling"


def polling_tools(body: Mapping[str, Any]) -> frozenset[str]:
    """Names of the tools that are declared, by `x-fortieth-polling: true` in the tool, its function or its
    parameters, to be called again and again.
    """
    tools = body.get("tools")
    names = set()
    for tool in tools if isinstance(tools, list) else []:
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            continue
        places = (tool, function, function.get("parameters") or function.get("input_schema"))
        name = function.get("name")
        if isinstance(name, str) and any(_is_set(place) for place in places):
            names.add(name)
    return frozenset(names)


def _is_set(place: Any) -> bool:
    return isinstance(place, dict) and place.get(POLLING) is True
