"""The tools of one request, compiled once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repair.limits import LIMITS
from repair.schema import CompiledSchema, SchemaError, UnusableSchema, compile_schema, escape
from repair.types import Problem, ToolDefinition

__all__ = ["SchemaError", "Tool", "ToolSet"]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool and its compiled schema."""

    definition: ToolDefinition
    schema: CompiledSchema

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def keys(self) -> Mapping[str, Any]:
        """Declared top-level parameters."""
        return self.schema.properties

    def text_problems(self, arguments: Any) -> tuple[Problem, ...]:
        """The texts among sound arguments that do not match their rule (rule `grammar`)."""
        given = arguments if isinstance(arguments, dict) else {}
        return tuple(
            Problem(escape(key), "grammar", refusal)
            for key, rule in self.definition.texts.items()
            if isinstance(given.get(key), str) and (refusal := rule.refusal(given[key]))
        )

    def fits(self, arguments: Any) -> bool:
        """Whether a call with these arguments may be executed."""
        return self.schema.validator.is_valid(arguments) and not self.text_problems(arguments)


class ToolSet:
    """The declared tools by name. Equal schemas are compiled once per process.

    names: in their order.
    replacement: U+FFFD may occur in a call, since the conversation holds it too; elsewhere it stands for
        bytes that were not UTF-8.
    """

    def __init__(self, tools: Iterable[Tool], replacement: bool = False) -> None:
        self.replacement = replacement
        self._tools = {tool.name: tool for tool in tools}
        self.names = tuple(self._tools)
        folded: dict[str, list[str]] = {}
        for name in self._tools:
            folded.setdefault(name.casefold(), []).append(name)
        self._folded = {key: tuple(names) for key, names in folded.items()}

    @classmethod
    def compile(cls, tools: Sequence[ToolDefinition], replacement: bool = False) -> ToolSet:
        """Compiles the tools. Raises SchemaError for parameters that are not a schema, one name with two
        schemas, and too many tools.
        """
        if len(tools) > LIMITS.tools:
            raise SchemaError("", "", f"at most {LIMITS.tools} tools, got {len(tools)}")
        compiled: dict[str, Tool] = {}
        for definition in tools:
            earlier = compiled.get(definition.name)
            if earlier is not None and _asked(earlier.definition) != _asked(definition):
                raise SchemaError(definition.name, "", "declared twice with different parameters")
            try:
                schema = compile_schema(definition.parameters)
            except UnusableSchema as error:
                raise SchemaError(definition.name, error.path, error.message) from error
            compiled[definition.name] = Tool(definition, schema)
        return cls(compiled.values(), replacement)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What of the tools' schemas cannot be validated, each as `tool: place: reason`."""
        return tuple(f"{tool.name}: {one}" for tool in self._tools.values() for one in tool.schema.left_out)

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def folded(self, name: str) -> tuple[str, ...]:
        """Declared names that equal `name` when case is ignored."""
        return self._folded.get(name.casefold(), ())

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __bool__(self) -> bool:
        return bool(self._tools)


def _asked(definition: ToolDefinition) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What its arguments are judged by."""
    return definition.parameters, definition.texts
