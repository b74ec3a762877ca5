"""Validates arguments in full against their JSON Schema (jsonschema-rs), and reports Problems."""

from __future__ import annotations

from itertools import islice
from typing import Any

from repair.limits import LIMITS
from repair.schema import CompiledSchema, escape
from repair.types import Problem


def is_valid(arguments: Any, schema: CompiledSchema) -> bool:
    """Whether `arguments` is an object that the schema accepts."""
    return isinstance(arguments, dict) and schema.validator.is_valid(arguments)


def find_problems(arguments: Any, schema: CompiledSchema) -> tuple[Problem, ...]:
    """Why `arguments` is refused, at most LIMITS.problems reasons; empty when it is accepted.

    Problem.rule is the JSON Schema keyword that failed, or `not_object`.
    """
    if not isinstance(arguments, dict):
        kind = type(arguments).__name__
        return (Problem("", "not_object", f"arguments must be an object, got {kind}"),)
    errors = islice(schema.validator.iter_errors(arguments), LIMITS.problems)
    return tuple(
        Problem(
            "".join(escape(token) for token in error.instance_path),
            str(error.schema_path[-1]) if error.schema_path else "schema",
            _message(error.message),
        )
        for error in errors
    )


def _message(text: str) -> str:
    """The message, shortened: the validator quotes long instances in full, and the model needs no copy of its
    own text.
    """
    return text if len(text) <= 300 else f"{text[:150]} ... {text[-150:]}"
