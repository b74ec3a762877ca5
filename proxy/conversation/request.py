"""The one type of request: every codec decodes into a ChatRequest, and every upstream is asked with one.

What a client left out is None here: the upstream knows its model's defaults, the codec does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from proxy.conversation.message import Message
from repair.types import ToolDefinition


class ToolMode(StrEnum):
    auto = "auto"
    none = "none"
    required = "required"
    named = "named"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools may or must be called.

    name: the one tool to call, with `named` only.
    hosted: the choice of a tool that an upstream's own provider executes, as it was sent; with `auto` only.
    """

    mode: ToolMode = ToolMode.auto
    name: str = ""
    hosted: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decoding parameters as the client gave them; None: not given.

    logprobs: None is off, else how many of the likeliest tokens to report beside each chosen one.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    ignore_eos: bool = False
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class RawPrompt:
    """What the model is to go on from as it stands, without a chat template. content: text, in which control
    tokens count as such, or token ids of the model. suffix: the text before which the answer will stand.
    special: the tokenizer puts before a text what it was trained to put there.
    """

    content: str | tuple[int, ...]
    suffix: str = ""
    special: bool = True


@dataclass(frozen=True, slots=True)
class SessionId:
    """An agent session, and how it is known.

    id: equal for the requests of one session, which may hold several branches.
    source: the header or field that named it; `prefix` where only the conversation's own beginning does.
    """

    id: str
    source: str


UNNAMED = SessionId("", "prefix")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One turn that a client asks for.

    model: as the client wrote it, "" where it wrote none, until the route has found which served model is
        meant.
    tool_extra: by a tool's name, further fields of its declaration as they were sent, such as
        `cache_control`; those that stood in its `function` under that name.
    hosted_tools: tools that an upstream's own provider executes, as they were declared.
    n: how many answers; 0 only asks whether the model is there.
    json_answer: the text of the answer is to be one JSON value.
    answer_schema: the schema of that value, where the client gave one.
    answer_at: the path of that schema in the client's request, for errors.
    answer_extra: what stood beside that schema as it was sent, such as `name` and `strict`.
    thinking_budget: tokens after which the reasoning is closed.
    include_reasoning: False leaves the reasoning out of the answer.
    timeout_s: how long the whole request may take, re-asks included; None sets no limit.
    constrained: an upstream that can constrain lets the model write only calls that fit their schemas.
    settled: by tool, arguments that such an upstream leaves in its call as they are.
    polling: names of tools that are meant to be called again and again.
    session: as the body names it, until the guard knows it for certain.
    fork: asked on the side, with messages that the client will never send back.
    expected_tokens: about how many the answer should take, where that is known; what repeats itself is then
        stopped sooner.
    told_in_place: names of tools that can be called and that a message declares. A prompt need not declare
        them at its head, which would then change.
    warnings: what the codec had to leave out, for the client.
    prompts: given in place of messages and tools: the model continues each as it stands, n times.
    body_bytes: of the body that the request came in, 0 where it came in none; says nothing of what is asked.
    kept_as: the key of that body in the ledger, "" where the ledger keeps none.
    limit_name: what the client calls the most tokens to generate, by a name of Chat Completions.
    further: fields of the body as they were sent, which only an upstream may know.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolDefinition, ...] = ()
    tool_extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hosted_tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    sampling: Sampling = Sampling()
    stream: bool = False
    n: int = 1
    json_answer: bool = False
    answer_schema: Mapping[str, Any] | None = None
    answer_at: str = field(default="", compare=False, repr=False)
    answer_extra: Mapping[str, Any] = field(default_factory=dict)
    thinking_budget: int | None = None
    include_reasoning: bool = True
    timeout_s: float | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)
    constrained: bool = False
    settled: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    polling: frozenset[str] = frozenset()
    session: SessionId = UNNAMED
    fork: bool = False
    expected_tokens: int | None = None
    told_in_place: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    prompts: tuple[RawPrompt, ...] = ()
    body_bytes: int = field(default=0, compare=False, repr=False)
    kept_as: str = field(default="", compare=False, repr=False)
    limit_name: str = "max_tokens"
    further: Mapping[str, Any] = field(default_factory=dict)

    @property
    def raw(self) -> RawPrompt | None:
        """The prompt of a request that has one in place of messages; of several the first."""
        return self.prompts[0] if self.prompts else None

    @property
    def answers(self) -> int:
        """How many answers are asked for in all: n to the conversation, or to each prompt in turn."""
        return self.n * max(1, len(self.prompts))

    def without_hosted_tools(self) -> ChatRequest:
        """The request for an upstream that executes no tools, with a warning about each of their types."""
        warnings = (*self.warnings, *tools_left_out(self.hosted_tools))
        choice = ToolChoice(self.tool_choice.mode, self.tool_choice.name) if self.tools else ToolChoice()
        return replace(self, hosted_tools=(), tool_choice=choice, warnings=warnings)

    @property
    def listed_tools(self) -> tuple[ToolDefinition, ...]:
        """The tools that a prompt declares at its head."""
        if not self.told_in_place:
            return self.tools
        return tuple(tool for tool in self.tools if tool.name not in self.told_in_place)


def tools_left_out(tools: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The warnings about tools that are no functions and that the model is not shown, one for each type."""
    kinds = dict.fromkeys(str(tool.get("type")) for tool in tools)
    return tuple(f"tools of type {kind} are not served here: left out" for kind in kinds)


def tool_object(tool: ToolDefinition) -> dict[str, Any]:
    """A tool as OpenAI's API declares it, which is also what chat templates expect."""
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = dict(tool.parameters)
    return {"type": "function", "function": function}
