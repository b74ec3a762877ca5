"""An agent loop without a model: prompts as the server makes them, answers as a test writes them, and a
client that sends them back in its own spelling.
"""

from __future__ import annotations

import json
import random
import shutil
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.resolve import BUNDLED, MODELS
from engine.template import ChatTemplate
from engine.types import CacheReport as EngineReport
from engine.types import Finished, FinishReason
from proxy.conversation.cache_report import CacheReport, MissCause
from proxy.conversation.message import Message, PastCall, ReasoningPart, Role
from proxy.conversation.request import ChatRequest, SessionId
from proxy.prompts.canonical import ALL_RULES, Rule
from proxy.prompts.miss_report import common
from proxy.prompts.prompting import Prepared, Prompter
from repair.types import ToolDefinition

END = "<|im_end|>"
CALLS = """\
{%- macro calls(message) %}{% for call in message.tool_calls or [] %}
<tool_call>
{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}{% endmacro %}
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}"""
THINKING = (
    CALLS
    + """
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}{{ calls(message) }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
<think>
{% endif %}"""
)
# leaves out the reasoning of all turns but those behind the user's last words
FORGETFUL = (
    CALLS
    + """
{%- set last = namespace(at=0) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set last.at = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content and loop.index0 > last.at %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}{{ calls(message) }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
)
STRICT = (
    CALLS
    + """
{%- for message in messages %}
{%- if message.role == 'system' and not loop.first %}{{ raise_exception('system comes first') }}{% endif -%}
<|im_start|>{{ message.role }}
{{ message.content }}{{ calls(message) }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
)

SEARCH = ToolDefinition(
    "search_files",
    "Find text in the files of the project",
    {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "folder": {"type": "string"},
            "limit": {"type": "integer"},
        },
        "required": ["query"],
    },
)
WRITE = ToolDefinition("write_file", "Write one file", {"type": "object", "properties": {"path": {}}})
RUN = ToolDefinition("run_tests", "Run the tests", {"type": "object", "properties": {}})
READ = ToolDefinition("read_file", "Read one file", {"type": "object", "properties": {"path": {}}})
SYSTEM = "You are a careful agent that works in a repository. " * 8
SESSION = SessionId("s", "session-id")


def load(tmp_path: Path, source: str = "") -> ChatTemplate:
    """The bundled tokenizer, with another template where one is given."""
    if not source:
        return ChatTemplate.load(MODELS / BUNDLED[0])
    path = tmp_path / "model"
    shutil.copytree(MODELS / BUNDLED[0], path, ignore=shutil.ignore_patterns("*.safetensors"))
    (path / "chat_template.jinja").write_text(source)
    return ChatTemplate.load(path)


def in_pieces(template: ChatTemplate, text: str) -> tuple[int, ...]:
    """Tokens of a text as no tokenizer would choose them: a model is free to."""
    return tuple(token for char in text for token in template.encode(char))


@dataclass
class Server:
    """One prompter, and what its prompts came to. known: tokens of each prompt and its answer; an engine that
    lets go of nothing would reuse what they share. shares: how much of the last of them each prompt does.
    """

    template: ChatTemplate
    rules: frozenset[Rule] = ALL_RULES
    reports: list[CacheReport] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    spliced: list[int] = field(default_factory=list)
    known: list[array[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._end = self.template.encode(END)
        self.prompter = Prompter(self.template, "hermes", self._end, self.rules)

    def ask(self, request: ChatRequest, answer: str) -> Prepared:
        """answer: as the model writes it, without its end token."""
        prepared = self.prompter.prepare(request)
        tokens = array("i", prepared.rendered.tokens)
        shared = [common(one, tokens) for one in self.known]
        self.spliced.append(prepared.spliced)
        if self.known:
            self.shares.append(shared[-1] / len(self.known[-1]))
        generated = (*in_pieces(self.template, answer), *self._end)
        finished = Finished(
            id="x",
            reason=FinishReason.stop,
            prompt_tokens=len(tokens),
            completion_tokens=len(generated),
            completion=generated,
            cache=EngineReport(tier="ram", reused=max(shared, default=0), total=len(tokens), cause="none"),
        )
        self.reports.append(prepared.report(finished))
        self.prompter.answered(prepared, answer, finished)
        self.known.append(tokens + array("i", generated))
        return prepared

    @property
    def causes(self) -> set[MissCause]:
        """Of all prompts but the first, which is cold."""
        assert self.reports[0].cause is MissCause.cold
        return {report.cause for report in self.reports[1:]}


def call_text(turn: int, thinking: bool = False) -> str:
    """A model's answer of its own spacing. Thinking begins inside the block that the prompt opened."""
    thought = f"I should look for part {turn} now.\n</think>\n\n" if thinking else ""
    arguments = f'{{"query":"part {turn}",  "limit": {turn}, "folder":"src/é"}}'
    call = f'{{"name": "search_files", "arguments": {arguments}}}'
    return f"{thought}Let me see.\n<tool_call>\n{call}\n</tool_call>"


def thought_over(answer: Message, reasoning: str) -> Message:
    """The same answer with other thinking before it, or none."""
    others = answer.without_reasoning().parts
    return replace(answer, parts=(ReasoningPart(reasoning), *others) if reasoning else others)


def call_copy(turn: int, thinking: bool = False) -> Message:
    """The same answer as the client keeps it."""
    arguments = json.dumps({"folder": "src/é", "limit": turn, "query": f"part {turn}"}, separators=(",", ":"))
    reasoning = f"I should look for part {turn} now." if thinking else ""
    call = PastCall(f"call_{turn}", "search_files", arguments)
    return Message.of(Role.assistant, "Let me see.", reasoning, (call,))


Change = Callable[[ChatRequest, int], ChatRequest]


def run_loop(
    server: Server, turns: int = 8, change: Change = lambda request, turn: request, thinking: bool = False
) -> Server:
    """change: what the client does to each request before it sends it."""
    messages = [
        Message.of(Role.system, SYSTEM),
        Message.of(Role.user, "Find all parts, one after the other."),
    ]
    for turn in range(turns):
        request = ChatRequest("m", tuple(messages), (SEARCH, READ, WRITE, RUN), session=SESSION)
        server.ask(change(request, turn), call_text(turn, thinking))
        result = f"src/part_{turn}.py:{turn}: found\n" * 3
        messages += [
            call_copy(turn, thinking),
            Message.of(Role.tool, result, call_id=f"call_{turn}", name="search_files"),
        ]
    return server


def with_system(request: ChatRequest, text: str) -> ChatRequest:
    return replace(request, messages=(Message.of(Role.system, text), *request.messages[1:]))


def shuffled(value: Any, turn: int) -> Any:
    """The same JSON with the keys of every object in an order of the turn's own."""
    if isinstance(value, dict):
        keys = random.Random(turn).sample(list(value), len(value))
        return {key: shuffled(value[key], turn) for key in keys}
    return [shuffled(item, turn) for item in value] if isinstance(value, list) else value
