"""The names that `repair` itself offers: all there, documented, and nothing loaded before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import repair


@pytest.mark.parametrize("name", repair.__all__)
def test_a_public_name_is_there(name: str) -> None:
    value = getattr(repair, name)
    assert value is vars(sys.modules[value.__module__])[name] if callable(value) else value
    assert name in dir(repair)
    assert name == "LIMITS" or (value.__doc__ or "").strip(), f"{name} has no docstring"


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="module 'repair' has no attribute 'Trun'"):
        repair.Trun  # noqa: B018


def test_importing_it_loads_nothing_else() -> None:
    loaded = (
        "import sys, repair; print([one for one in sys.modules if 'jsonschema' in one or 'repair.' in one])"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_module_says_how_it_is_used() -> None:
    """The two snippets of its docstring, run."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    tools = repair.ToolSet.compile([repair.ToolDefinition("get_weather", parameters=schema)])
    match repair.repair_arguments("get_weather", '{"city": "Oslo", "days": "3",}', tools):
        case repair.Accepted(call, fixes):
            assert call.arguments == '{"city": "Oslo", "days": 3}'
            assert {fix.kind for fix in fixes} == {repair.FixKind.trailing_comma, repair.FixKind.to_number}
        case repair.Rejected(problems):
            pytest.fail(str(problems))
    turn = repair.Turn(tools)
    deltas = turn.feed('Let me look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n')
    outcome = turn.close("stop")
    assert "".join(delta.text for delta in deltas).strip() == "Let me look."
    assert [call.name for call in outcome.calls] == ["get_weather"]
