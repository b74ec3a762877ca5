"""What a body says besides the request itself: whose session it is, which tools are polled. Never a
refusal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

POLLING = "x-fortieth-polling"


def session_hint(body: Mapping[str, Any]) -> str:
    """The agent session that a body names: `prompt_cache_key`, `metadata.user_id` (with a JSON object in
    it, as one agent sends it, its session_id), `user`; "" where it names none.
    """
    metadata = body.get("metadata")
    user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
    for value in (body.get("prompt_cache_key"), _inner(user_id), body.get("user")):
        if isinstance(value, str) and value:
            return value
    return ""


def _inner(user_id: Any) -> Any:
    try:
        value = json.loads(user_id) if isinstance(user_id, str) else None
    except (ValueError, RecursionError):
        return user_id
    return value.get("session_id") if isinstance(value, dict) else user_id


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
