"""Every file of examples/, run as its reader would run it, over the bundled model or a script."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from tests.proxy.upstreams.wire import WireUpstream, told, wire_serving
from tests.system.conftest import Served, served

EXAMPLES = Path(__file__).parents[2] / "examples"
TRIED = {
    "openai_sdk.py", "anthropic_sdk.py", "langgraph_agent.py", "litellm_config.yaml", "repair_library.py",
    "declared_format.toml", "malforming_upstream.py",
}  # fmt: skip
QUESTION = "What is the weather in Lisbon?"
ADDRESS = "http://127.0.0.1:8040/v1"
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


def run(name: str, *arguments: str) -> str:
    """What an example prints."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tried() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == TRIED


def test_openai_sdk(server: Served) -> None:
    lines = run("openai_sdk.py", server.base_url).splitlines()
    assert lines[:2] == ["verdict: clean fixes: 0", 'call: get_weather {"city": "Lisbon"}']
    assert "sunny" in lines[-1]


def test_anthropic_sdk(server: Served) -> None:
    lines = run("anthropic_sdk.py", server.base_url.removesuffix("/v1")).splitlines()
    assert lines[0] == "call: get_weather Lisbon"
    assert re.fullmatch(r"tokens: \d+ and from the cache \d{2,}", lines[1])
    assert "sunny" in lines[-1]


def test_langgraph_is_sound() -> None:
    """Where it is not installed it cannot run; what it says of itself can be checked."""
    tree = ast.parse((EXAMPLES / "langgraph_agent.py").read_text("utf-8"))
    needed = {
        node.module.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
    }
    assert needed >= {"langgraph", "langchain_openai"}
    for name in ("langgraph", "langchain-openai"):
        assert name in (ast.get_docstring(tree) or "")


@pytest.mark.skipif(
    importlib.util.find_spec("langgraph") is None or importlib.util.find_spec("langchain_openai") is None,
    reason="langgraph and langchain-openai are not installed",
)
def test_langgraph(server: Served) -> None:
    assert "sunny" in run("langgraph_agent.py", server.base_url)


def test_litellm_config(server: Served, tmp_path: Path) -> None:
    """By the Router, which is what LiteLLM's proxy makes of its config."""
    text = (EXAMPLES / "litellm_config.yaml").read_text("utf-8")
    assert ADDRESS in text
    config = yaml.safe_load(text.replace(ADDRESS, server.base_url))
    asked = {"model": "agent", "messages": [{"role": "user", "content": QUESTION}], "tools": TOOLS}
    program = f"""
from litellm import Router
router = Router(model_list={config["model_list"]!r}, **{config["router_settings"]!r})
(call,) = router.completion(**{asked!r}).choices[0].message.tool_calls
print(call.function.name, call.function.arguments)
"""
    offline = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # else it asks the network for prices
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=offline)
    assert done.stdout.splitlines()[-1:] == ['get_weather {"city": "Lisbon"}'], done.stderr


def test_repair_as_a_library() -> None:
    lines = run("repair_library.py").splitlines()
    assert lines[0] == '{"city": "Oslo", "days": 3}  (as it was)'
    assert lines[1] == '{"city": "Oslo", "days": 3}  (trailing_comma, to_number)'
    assert '"city" is a required property' in lines[3]
    assert lines[-1] == """repaired: [('get_weather', '{"city": "Oslo"}')]"""


def test_a_declared_format(tmp_path: Path) -> None:
    text = (EXAMPLES / "declared_format.toml").read_text("utf-8")
    written = re.search(r"^# The model writes: +(.+)$", text, re.MULTILINE)
    assert written
    with wire_serving(WireUpstream(told(written.group(1)))) as upstream:
        config = tmp_path / "fortieth.toml"
        config.write_text(text.replace("http://127.0.0.1:8000/v1", upstream.base_url), "utf-8")
        with served("--config", str(config)) as running:
            client = openai.OpenAI(base_url=running.base_url, api_key="none", max_retries=0)
            answer = client.chat.completions.create(
                model="wire", messages=[{"role": "user", "content": "And in Oslo?"}], tools=TOOLS
            )
    calls = answer.choices[0].message.tool_calls
    assert calls
    (call,) = calls
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": "Oslo"}')
