"""The values that repair works on. All are frozen, and equal values are interchangeable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


class Verdict(StrEnum):
    """The verdict on one turn. `reask`: no call of this turn may be executed."""

    none = "none"
    clean = "clean"
    repaired = "repaired"
    reask = "reask"


class FixKind(StrEnum):
    """One member for each kind of repair. docs/repair.md says what each may change."""

    # syntax of the JSON (or Python) text
    trailing_comma = "trailing_comma"
    missing_closer = "missing_closer"
    extra_closer = "extra_closer"
    missing_comma = "missing_comma"
    raw_control = "raw_control"
    byte_order_mark = "byte_order_mark"
    invalid_escape = "invalid_escape"
    escaped_whitespace = "escaped_whitespace"
    unescaped_quote = "unescaped_quote"
    single_quotes = "single_quotes"
    unquoted_key = "unquoted_key"
    python_literal = "python_literal"
    duplicate_key = "duplicate_key"
    # the envelope around the call
    missing_tag = "missing_tag"
    corrupted_marker = "corrupted_marker"
    junk_in_envelope = "junk_in_envelope"
    markdown_fence = "markdown_fence"
    special_token = "special_token"
    wrapper_key = "wrapper_key"
    double_encoded = "double_encoded"
    empty_arguments = "empty_arguments"
    echo = "echo"
    duplicate_object = "duplicate_object"
    promoted = "promoted"
    # the tool's name
    name_case = "name_case"
    name_prefix = "name_prefix"
    name_suffix = "name_suffix"
    # values, directed by the schema
    to_number = "to_number"
    to_boolean = "to_boolean"
    to_null = "to_null"
    to_string = "to_string"
    to_integer = "to_integer"
    leading_zero = "leading_zero"
    parse_container = "parse_container"
    wrap_array = "wrap_array"
    enum_case = "enum_case"
    drop_null = "drop_null"
    bare_word = "bare_word"


@dataclass(frozen=True, slots=True)
class Fix:
    """One change.

    path: JSON pointer into the arguments; "" for the whole call.
    before, after: text.
    """

    kind: FixKind
    path: str
    before: str
    after: str


class TextRule(Protocol):
    """What a text must match as a whole, beyond what JSON Schema can say."""

    @property
    def lark(self) -> str:
        """The rule as a grammar in Lark, as llguidance reads it."""
        ...

    def refusal(self, text: str) -> str:
        """Why the text does not match, "" where it does."""
        ...


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """One function tool of a request.

    parameters: its JSON Schema (an object schema).
    texts: what texts must match, by the names of the arguments at the top that are such texts.
    free: the client gets a text in place of arguments, and has no schema that could refuse it.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False
    texts: Mapping[str, TextRule] = field(default_factory=dict)
    free: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """An accepted call.

    arguments: JSON text, byte for byte the model's own where that was valid.
    extra: what came beside a call that was no text; nothing here reads it.
    """

    name: str
    arguments: str
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a call cannot be accepted.

    path: JSON pointer into the arguments; "" is the whole.
    rule: a stable name such as `required`, `type`, `unknown_tool`, `truncated`.
    message: says what, where and what was got.
    """

    path: str
    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Bare:
    """Text that its wire format leaves untyped (an XML parameter, an unquoted word); the schema types it.

    element: what an array or object is written as where it holds something, and so an empty one too.
    items: the scalars of a Python set, in order; a set is only read as an array, where the schema wants one.
    """

    text: str
    element: bool = False
    items: tuple[Any, ...] | None = None


class Body(StrEnum):
    """What the text of a RawCall is."""

    call = "call"  # one JSON object that holds both name and arguments
    keyed = "keyed"  # one JSON object {name: arguments}
    arguments = "arguments"  # the arguments alone
    tree = "tree"  # already read by the format: RawCall.tree


@dataclass(frozen=True, slots=True)
class RawCall:
    """One call as the wire format delimits it, before any judgement.

    text: the bytes of the body.
    closed: something after the body proves that it had ended (a closing marker, a following call).
    tree: for Body.tree, the arguments; leaves may be Bare.
    fixes: what had to be ignored to delimit it.
    problems: why it cannot be a call at all.
    strict: it was delimited by reading it as strict JSON.
    """

    name: str
    body: Body
    text: str
    closed: bool
    tree: Mapping[str, Any] | None = None
    fixes: tuple[Fix, ...] = ()
    problems: tuple[Problem, ...] = ()
    strict: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The call may be executed. fixes: empty when the model's own bytes are passed on."""

    call: ToolCall
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """The call must not be executed. problems: at least one, which says why."""

    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Content for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """The model's reasoning, without its markers."""

    text: str
