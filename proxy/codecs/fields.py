"""Reads typed fields out of a decoded JSON body; every refusal names the field and what stood there."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec

from proxy.conversation.errors import BadBody, BadRequest, ContextRefused

# Real tool schemas nest about 30 deep; what nests deeper only serves to exhaust a recursive reader.
MAX_DEPTH = 100
# No context has room for more messages. Of tools those count that can be called, LIMITS.tools of repair.
MAX_MESSAGES = 32_768
MAX_TOOLS = 4096
_SHOWN = 40
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a request body. Raises BadBody.

    Half a surrogate pair as an escape (`\\ud83d`), which JavaScript clients send when they cut a text
    inside an emoji, becomes U+FFFD: no tokenizer could read it.
    """
    try:
        value = msgspec.json.decode(body)
    except msgspec.ValidationError as error:
        raise BadBody(f"the body is not usable JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise BadBody(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise BadBody(f"the body nests deeper than {MAX_DEPTH} levels") from error
    except msgspec.DecodeError:
        value = _parse_with_surrogates(body)
    if not isinstance(value, dict):
        raise BadBody(f"the body must be a JSON object, got {describe(value)}")
    _check_length(value)
    if nests_deeper(value, MAX_DEPTH):
        raise BadBody(f"the body nests deeper than {MAX_DEPTH} levels")
    return value


def _check_length(body: Mapping[str, Any]) -> None:
    """Raises ContextRefused and BadRequest for lists in which to look at each element would take seconds."""
    for key in ("messages", "input"):
        if isinstance(body.get(key), list) and len(body[key]) > MAX_MESSAGES:
            raise ContextRefused(f"{key} may have {MAX_MESSAGES} elements, got {len(body[key])}")
    if isinstance(body.get("tools"), list) and len(body["tools"]) > MAX_TOOLS:
        raise BadRequest(f"tools may have {MAX_TOOLS} elements, got {len(body['tools'])}", param="tools")


def _parse_with_surrogates(body: bytes) -> Any:
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise BadBody(f"the body nests deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise BadBody(f"the body is not valid JSON: {error}") from error
    if nests_deeper(value, MAX_DEPTH):
        raise BadBody(f"the body nests deeper than {MAX_DEPTH} levels")
    return _replace_surrogates(value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _replace_surrogates(value: Any) -> Any:
    match value:
        case str():
            return _SURROGATE.sub("\ufffd", value)
        case list():
            return [_replace_surrogates(item) for item in value]
        case dict():
            return {_replace_surrogates(key): _replace_surrogates(item) for key, item in value.items()}
        case _:
            return value


def nests_deeper(value: Any, limit: int) -> bool:
    """Whether arrays and objects stand more than `limit` deep in each other. Never recurses itself."""
    level = [value]
    while level:
        if limit < 0:
            return True
        limit -= 1
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    return False


def describe(value: Any) -> str:
    """A short name for a JSON value in an error message: `number 5`, `an array of 3`, `null`."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"number {_cut(str(value))}"
        case str():
            return f"string {_cut(json.dumps(value, ensure_ascii=False))}"
        case list():
            return f"an array of {len(value)}"
        case _:
            return "an object"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def refuse(path: str, expected: str, value: Any) -> NoReturn:
    """Raises the BadRequest for a field of the wrong type."""
    raise BadRequest(f"{path}: expected {expected}, got {describe(value)}", param=path)


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object of the body and its path in it ("" for the body itself).

    The readers return the default for a missing field and for null, which clients send for "not set";
    they raise BadRequest for any other type.
    """

    values: Mapping[str, Any]
    path: str = ""

    @classmethod
    def of(cls, value: Any, path: str) -> Fields:
        if not isinstance(value, dict):
            refuse(path, "an object", value)
        return cls(value, path)

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def unknown(self, known: Iterable[str]) -> list[str]:
        return sorted(self.at(key) for key in self.values.keys() - set(known))

    def string(self, key: str, default: str = "") -> str:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            refuse(self.at(key), "a string", value)
        return value

    def required_string(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str):
            found = describe(value) if key in self.values else "nothing"
            raise BadRequest(f"{self.at(key)}: expected a string, got {found}", param=self.at(key))
        if not value:
            raise BadRequest(f"{self.at(key)} must not be empty", param=self.at(key))
        return value

    def boolean(self, key: str, default: bool = False) -> bool:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            refuse(self.at(key), "a boolean", value)
        return value

    def number(self, key: str, low: float, high: float) -> float | None:
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            refuse(self.at(key), "a number", value)
        return check_range(self.at(key), value, low, high)

    def integer(self, key: str, low: int, high: int) -> int | None:
        """Takes 100.0 for 100: some clients have only one kind of number."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            refuse(self.at(key), "an integer", value)
        if not low <= value <= high:
            raise BadRequest(
                f"{self.at(key)} must be in [{low}, {high}], got {_cut(str(value))}", param=self.at(key)
            )
        return value

    def array(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            refuse(self.at(key), "an array", value)
        return value

    def object(self, key: str) -> Fields:
        value = self.values.get(key)
        return Fields({} if value is None else Fields.of(value, self.at(key)).values, self.at(key))


def check_range(path: str, value: float, low: float, high: float) -> float:
    """The value as a float if it is finite and in [low, high], else BadRequest."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not low <= number <= high:
        raise BadRequest(f"{path} must be in [{low:g}, {high:g}], got {_cut(str(value))}", param=path)
    return number
