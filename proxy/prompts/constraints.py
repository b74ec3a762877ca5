"""Decides which grammar the answer to a request is decoded under, if any.

A grammar is a help and never a condition: where none can be made, the request is served without one, its
calls are judged all the same, and the log says so once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.validate import MAX_GRAMMAR
from proxy.conversation.request import ChatRequest, ToolMode
from proxy.prompts.canonical import Recent
from repair.dialect import dialect
from repair.formats import Wire
from repair.grammar import Grammar, answer_grammar, tool_grammar
from repair.reasoning import left_open
from repair.tools import ToolSet

_log = logging.getLogger(__name__)
_KEPT = 64
# A longer value would make the grammar too large; the model writes the value again.
_FIXED_CHARS = 2_000
# Keywords that may declare or require properties besides `properties`.
_OPENINGS = frozenset(
    "additionalProperties unevaluatedProperties patternProperties propertyNames minProperties "
    "allOf anyOf oneOf if dependentSchemas $ref $dynamicRef".split()
)


@dataclass(frozen=True, slots=True)
class Constraint:
    """Whether and how decoding is constrained.

    wanted: the request asks for constrained decoding.
    grammar: None where it does not, or where no grammar can be made.
    """

    wanted: bool = False
    grammar: str | None = None


NO_CONSTRAINT = Constraint()


class Constraints:
    """Makes the grammars of one model's requests. Several threads may use it.

    format: the wire format of its calls.
    template: the text of its chat template.
    tokens: the text and id of each marker that is a single token of its vocabulary.
    """

    def __init__(self, format: str | Wire, template: str, tokens: Mapping[str, int]) -> None:
        self._format = format
        self._tokens = tokens
        self._reasoning = dialect(format, ()).reasoning
        spoken = [pair for pair in self._reasoning.items() if pair[1] in template]
        self._block = spoken[0] if spoken else None
        self._made: Recent[str, Constraint] = Recent(_KEPT)

    def choose(self, request: ChatRequest, generation_prompt: str) -> Constraint:
        """The constraint of a request. generation_prompt: what the chat template appended."""
        mode = request.tool_choice.mode
        callable_ = bool(request.tools) and mode is not ToolMode.none
        strict = any(tool.strict for tool in request.tools)
        forced = mode in (ToolMode.required, ToolMode.named)
        if callable_ and (request.constrained or strict or forced or request.json_answer):
            wanted = "tools"
        elif request.json_answer:
            wanted = "answer"
        else:
            return NO_CONSTRAINT
        open_reasoning = left_open(generation_prompt, self._reasoning.items())
        key = _key(request, wanted, open_reasoning)
        known = self._made.get(key)
        if known is not None:
            return known
        make = self._tools if wanted == "tools" else self._answer
        return self._made.first(
            key, Constraint(True, self._checked(make(request, open_reasoning), wanted, request))
        )

    def _tools(self, request: ChatRequest, open_reasoning: str) -> Grammar | None:
        choice = request.tool_choice
        declared = ToolSet.compile(request.tools)
        tools = [
            replace(
                tool.definition, parameters=fixed(closed(tool.schema.root), request.settled.get(name, {}))
            )
            for name in declared.names
            if (tool := declared.get(name)) is not None
        ]
        return tool_grammar(
            ToolSet.compile(tools),
            self._format,
            required=choice.mode in (ToolMode.required, ToolMode.named),
            tool_name=choice.name or None,
            parallel=request.parallel_tool_calls,
            json_answer=request.json_answer,
            answer_schema=request.answer_schema,
            reasons=self._block is not None,
            in_words=request.fork,
            open_reasoning=open_reasoning,
            tokens=self._tokens,
        )

    def _answer(self, request: ChatRequest, open_reasoning: str) -> Grammar:
        return answer_grammar(
            request.answer_schema,
            reasoning=self._block,
            open_reasoning=open_reasoning,
            tokens=self._tokens,
        )

    def _checked(self, grammar: Grammar | None, wanted: str, request: ChatRequest) -> str | None:
        if grammar is None:
            beside = " beside a JSON answer" if request.json_answer else ""
            _log.info("calls in format %s are not constrained%s: there is no grammar", self._format, beside)
            return None
        if len(grammar.text) > MAX_GRAMMAR:
            _log.info(
                "a grammar of %d characters is too long: these %s are not constrained",
                len(grammar.text),
                wanted,
            )
            return None
        if grammar.left_out:
            _log.info(
                "these parts of the schemas are checked by validation only, not by the grammar: %s",
                "; ".join(grammar.left_out),
            )
        return grammar.text


def closed(schema: Any) -> Any:
    """The schema with undeclared properties forbidden, where it declares some and says nothing of others.

    A schema allows undeclared properties for callers that know more than it says. A model under a grammar
    does not, and would invent properties, even one key twice.
    """
    if not isinstance(schema, Mapping):
        return schema
    result = dict(schema)
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        result["properties"] = {name: closed(part) for name, part in properties.items()}
        if properties and not _OPENINGS & schema.keys():
            result["additionalProperties"] = False
    if isinstance(schema.get("items"), Mapping):
        result["items"] = closed(schema["items"])
    return result


def fixed(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of an object that has exactly these properties with these values."""
    short = {key: value for key, value in arguments.items() if len(json.dumps(value)) <= _FIXED_CHARS}
    if not short:
        return schema
    properties = {**schema.get("properties", {}), **{key: {"const": value} for key, value in short.items()}}
    required = dict.fromkeys([*schema.get("required", ()), *short])
    return {**schema, "properties": properties, "required": [*required]}


def _key(request: ChatRequest, wanted: str, open_reasoning: str) -> str:
    """Equal for requests that get the same grammar."""
    if wanted == "answer":
        return json.dumps([wanted, open_reasoning, request.answer_schema])
    choice = request.tool_choice
    tools = [(tool.name, tool.parameters) for tool in request.tools]
    answer = [request.json_answer, request.answer_schema]
    calls = [choice.mode, choice.name, request.parallel_tool_calls, tools, request.settled, request.fork]
    return json.dumps([wanted, open_reasoning, *answer, *calls])
