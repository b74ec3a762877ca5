"""`fortieth doctor`: examines an installation and a model part by part, and reports what it finds."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine.client import EngineClient
from engine.config import EngineConfig
from engine.errors import EngineError
from engine.resolve import resolve_model
from engine.template import ChatTemplate
from engine.types import Finished, GenerateRequest, ModelInfo, SamplingParams
from proxy.cli.divergence import measure, random_prompts
from proxy.conversation.request import ChatRequest
from proxy.http.first_answer import template_fault, unapplied_adapters
from proxy.prompts.rendering import render_tools
from proxy.upstreams.wire import find_wire, refusal, writes_calls
from repair.formats.row import Row
from repair.types import ToolDefinition

_PACKAGES = (
    "mlx",
    "mlx-lm",
    "transformers",
    "tokenizers",
    "llguidance",
    "litellm",
    "jsonschema-rs",
    "fastapi",
)
_SPEED_TOKENS = 64
_BATCH = 8
_TOOL = ToolDefinition(
    "get_weather",
    "The weather of a city.",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
)
_ARGUMENTS = '{"city": "São Paulo", "days": 3}'


class Level(StrEnum):
    """How good a finding is.

    warn: it works, but less well than it could.
    fail: it does not work.
    """

    ok = "ok"
    warn = "warn"
    fail = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:4}  {self.name:14}  {self.text}"


Tell = Callable[[Finding], None]


def examine(model: str | None, divergence_prompts: int, tell: Tell) -> bool:
    """Reports each finding as it is made; returns False if any is a failure. divergence_prompts: 0 skips that
    part.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    levels: list[Level] = []

    def note(finding: Finding) -> None:
        levels.append(finding.level)
        tell(finding)

    for finding in versions():
        note(finding)
    try:
        path = resolve_model(model)
        note(directory(path))
        template = ChatTemplate.load(path)
        note(tokenizer(template))
        note(round_trip(template))
        asyncio.run(run_engine(path, template, divergence_prompts, note))
    except EngineError as error:
        note(Finding(Level.fail, "model", str(error)))
    return Level.fail not in levels


def versions() -> list[Finding]:
    """The versions of this program, of Python, and of the libraries that decide what it can do."""
    found = [
        Finding(Level.ok, "fortieth", _version("fortieth") or "not installed: it runs from its sources"),
        Finding(Level.ok, "python", f"{platform.python_version()} on {platform.platform()}"),
    ]
    for name in _PACKAGES:
        known = _version(name)
        level = Level.ok if known else Level.fail
        found.append(Finding(level, name, known or "not installed"))
    return found


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def directory(path: Path) -> Finding:
    """The contents of a model's directory."""
    weights = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    if not weights:
        return Finding(Level.fail, "model", f"{path} holds no weights (*.safetensors)")
    if adapters := unapplied_adapters(path):
        text = (
            f"{path}: {', '.join(adapters)} is not applied: merge the adapter into the weights (mlx_lm.fuse)"
        )
        return Finding(Level.warn, "model", text)
    return Finding(Level.ok, "model", f"{path}, {weights / 1e6:.1f} MB of weights")


def tokenizer(template: ChatTemplate) -> Finding:
    """Whether a prompt with tools can be written. A server that could not write one would not start."""
    if fault := template_fault(template):
        return Finding(Level.fail, "tokenizer", fault)
    return Finding(Level.ok, "tokenizer", f"{len(template.markers)} added tokens, a chat template")


def round_trip(template: ChatTemplate) -> Finding:
    """Whether calls that the template writes into a history are read back by the parser."""
    found = find_wire(template)
    if found.row is not None:
        text = f"format {found.how} from the chat template: {', '.join(literals(found.row)[1:])}"
        return Finding(Level.ok, "tool calls", text)
    if found.format is not None:
        text = f"format {found.format}: the calls that the chat template writes are read back unchanged"
        return Finding(Level.ok, "tool calls", text)
    if not writes_calls(template):
        why = refusal(template) or "the chat template writes no calls"
        return Finding(
            Level.warn,
            "tool calls",
            f"{why}: tools are described in words, and calls are read in any known format",
        )
    text = "no format reads the calls that the chat template writes: calls are read in any known format"
    return Finding(Level.warn, "tool calls", text)


def format_table(model: str | None) -> str:
    """The derived format of a model's calls as a table of fortieth.toml; "" where none is derived."""
    try:
        found = find_wire(ChatTemplate.load(resolve_model(model)))
    except EngineError:
        return ""
    return "[[format]]\n" + "\n".join(literals(found.row)) if found.row is not None else ""


def literals(row: Row) -> list[str]:
    """A row as the lines of a [[format]] table, without what has its default."""
    plain = Row(row.name, row.shape)
    kept = {
        one.name: getattr(row, one.name)
        for one in fields(row)
        if one.name in ("name", "shape") or getattr(row, one.name) != getattr(plain, one.name)
    }
    kept["name"] = "mine" if row.name == "derived" else row.name
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in kept.items()]


async def run_engine(path: Path, template: ChatTemplate, divergence_prompts: int, tell: Tell) -> None:
    """Starts the engine and generates. Raises EngineError."""
    client = EngineClient(EngineConfig(model=str(path), max_batch=_BATCH, log_level="error"))
    began = time.monotonic()
    try:
        info = await client.start()
        took = time.monotonic() - began
        tell(Finding(Level.ok, "engine", f"{_described(info)}, ready in {took:.1f} s"))
        tell(blas(info))
        tell(await speed(client, template))
        if divergence_prompts:
            tell(await divergence(client, template, info, divergence_prompts))
    finally:
        await client.close()


def _described(info: ModelInfo) -> str:
    return (
        f"{info.model_type}, {info.parameters / 1e6:.1f} M parameters in {info.dtype} on {info.device}, "
        f"context of {info.context_length} tokens"
    )


def blas(info: ModelInfo) -> Finding:
    """The BLAS in use, on which the speed of a CPU depends."""
    plain = info.device == "cpu" and platform.system() == "Linux" and "openblas" not in info.blas.lower()
    return Finding(Level.warn if plain else Level.ok, "blas", info.blas or "none is needed on a GPU")


async def speed(client: EngineClient, template: ChatTemplate) -> Finding:
    """The speed of one stream, decoded greedily."""
    prompt = template.render([{"role": "user", "content": "Hello"}], render_tools(ChatRequest("", ()))).tokens
    sampling = SamplingParams(max_tokens=_SPEED_TOKENS, ignore_eos=True)
    async for event in client.generate(GenerateRequest(id="speed", prompt=prompt, sampling=sampling)):
        if isinstance(event, Finished):
            rate = (event.completion_tokens - 1) / max(event.decode_s, 1e-9)
            text = f"{event.completion_tokens} tokens at {rate:.0f} tokens/s, one stream"
            return Finding(Level.ok, "decoding", text)
    raise AssertionError("a generation ended without its last event")


async def divergence(client: EngineClient, template: ChatTemplate, info: ModelInfo, count: int) -> Finding:
    """Compares batched with serial decoding, on random prompts."""
    found = await measure(client, random_prompts(template, info.vocab_size, count), together=_BATCH)
    text = (
        f"{_BATCH} requests at a time against one: exact match {found.exact}, "
        f"token agreement {found.agreement}"
    )
    if found.first is None:
        return Finding(Level.ok, "divergence", f"{text}, {count} prompts")
    hint = "`fortieth serve --deterministic` decodes one at a time"
    return Finding(Level.warn, "divergence", f"{text}, {count} prompts, first at token {found.first}; {hint}")
