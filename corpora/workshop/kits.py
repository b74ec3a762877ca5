"""The tools of agents under the names that each agent gives them, as rows of one table.

A kit says how an agent spells eight acts: read, write, edit, search, list, shell, fetch and todo. What an
agent has no tool for is done by its shell. Names of tools and arguments are those of autumn 2026; every
description is our own.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from corpora.workshop.commands import as_command
from corpora.world.base import Call, tool

_BASH = ["bash", "-lc"]
_STATUSES = ["pending", "in_progress", "completed"]
_TYPES: Mapping[str, Mapping[str, Any]] = {
    "offset": {"type": "integer", "minimum": 1},
    "limit": {"type": "integer", "minimum": 1},
    "range": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
    "every": {"type": "boolean"},
    "argv": {"type": "array", "items": {"type": "string"}, "minItems": 1},
}
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "read": ("path",), "write": ("path", "content"), "edit": ("path", "old", "new"), "search": ("pattern",),
    "list": (), "shell": ("command", "argv"), "fetch": ("url",), "todo": ("todos", "checklist"),
}  # fmt: skip
_TOLD = {
    "read": "Read a text file.", "write": "Write a whole file.", "edit": "Replace a text in a file.",
    "search": "Find the lines that contain a text.", "list": "List the files of a folder.",
    "shell": "Run a command in the project's folder.", "fetch": "Get the text of a web page.",
    "todo": "Write the whole list of todos.",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verb:
    """How a kit spells an act.

    names: of its arguments, by our own. fixed: arguments that tell the act from others of the same tool.
    further: optional arguments that no script ever gives.
    """

    act: str
    tool: str
    names: Mapping[str, str]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    further: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Kit:
    """The tools of one agent.

    numbered: read shows line numbers. entry: the names of a todo's text and status.
    """

    name: str
    verbs: tuple[Verb, ...]
    numbered: bool = False
    entry: tuple[str, str] = ("content", "status")

    @cached_property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        """In OpenAI form; verbs of one tool share it."""
        made = []
        for name in dict.fromkeys(verb.tool for verb in self.verbs):
            verbs = [verb for verb in self.verbs if verb.tool == name]
            made.append(self._tool(name, verbs))
        return tuple(made)

    def _tool(self, name: str, verbs: list[Verb]) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        for key in dict.fromkeys(key for verb in verbs for key in verb.fixed):
            properties[key] = {"enum": list(dict.fromkeys(verb.fixed[key] for verb in verbs))}
        for verb in verbs:
            properties |= {spelled: self._schema(ours) for ours, spelled in verb.names.items()}
            properties |= verb.further
        needed = [set(self._needed(verb)) for verb in verbs]
        required = tuple(key for key in properties if all(key in one for one in needed))
        return tool(name, " ".join(_TOLD[verb.act] for verb in verbs), properties, required)

    def _needed(self, verb: Verb) -> list[str]:
        ours = [one for one in _REQUIRED[verb.act] if one in verb.names]
        return [*verb.fixed, *(verb.names[one] for one in ours)]

    def _schema(self, ours: str) -> Mapping[str, Any]:
        if ours != "todos":
            return _TYPES.get(ours, {"type": "string"})
        text, status = self.entry
        entry = {"type": "object", "properties": {text: {"type": "string"}, status: {"enum": _STATUSES}}}
        return {"type": "array", "items": entry | {"required": [text, status]}}

    def has(self, act: str) -> bool:
        """Whether the act has a tool, or a command that does it."""
        return any(verb.act == act for verb in self.verbs) or act not in ("fetch", "todo")

    @property
    def ranged(self) -> str:
        """How lines are chosen: "offset" (and a number of lines) or "range" (the first and the last)."""
        read = next((verb for verb in self.verbs if verb.act == "read"), None)
        return "offset" if read is not None and "offset" in read.names else "range"

    def call(self, act: str, **given: Any) -> Call:
        """The call of an act; by the shell where there is no tool for it. given: by our own names."""
        verb = next((one for one in self.verbs if one.act == act), None)
        if verb is None:
            return self.call("shell", command=as_command(act, given))
        if "argv" in verb.names and "command" in given:
            given = {"argv": [*_BASH, given["command"]]}
        if act == "todo":
            given = self._todo(verb, given["todos"])
        return Call(verb.tool, {**verb.fixed, **{verb.names[ours]: value for ours, value in given.items()}})

    def _todo(self, verb: Verb, todos: list[tuple[str, str]]) -> dict[str, Any]:
        if "checklist" in verb.names:
            marks = {"pending": " ", "in_progress": "~", "completed": "x"}
            return {"checklist": "\n".join(f"- [{marks[status]}] {text}" for text, status in todos)}
        text, status = self.entry
        return {"todos": [{text: one, status: state} for one, state in todos]}

    def read_call(self, name: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The act of a call and its arguments by our own names. Raises KeyError for a call of no verb."""
        for verb in self.verbs:
            if verb.tool == name and all(arguments.get(key) == value for key, value in verb.fixed.items()):
                ours = {spelled: one for one, spelled in verb.names.items()}
                given = {ours[key]: value for key, value in arguments.items() if key in ours}
                if "argv" in given:
                    argv = given["argv"]
                    given["command"] = argv[2] if argv[:2] == _BASH and len(argv) == 3 else shlex.join(argv)
                return verb.act, given
        raise KeyError(name)


_TIME: dict[str, Mapping[str, Any]] = {"timeout": {"type": "integer", "minimum": 1}}
_WHY: dict[str, Mapping[str, Any]] = {"description": {"type": "string"}}


def _plain(act: str, name: str, *names: str, **named: str) -> Verb:
    """A verb whose arguments are mostly called as we call them."""
    return Verb(act, name, {**{one: one for one in names}, **named})


KITS: tuple[Kit, ...] = (
    Kit(
        "claude-code",
        (
            _plain("read", "Read", "offset", "limit", path="file_path"),
            _plain("write", "Write", "content", path="file_path"),
            _plain("edit", "Edit", path="file_path", old="old_string", new="new_string", every="replace_all"),
            _plain("search", "Grep", "pattern", folder="path"),
            Verb("shell", "Bash", {"command": "command"}, further=_TIME | _WHY),
            _plain("fetch", "WebFetch", "url"),
            _plain("todo", "TodoWrite", "todos"),
        ),
        numbered=True,
    ),
    Kit(
        "opencode",
        (
            _plain("read", "read", "offset", "limit", path="filePath"),
            _plain("write", "write", "content", path="filePath"),
            _plain("edit", "edit", path="filePath", old="oldString", new="newString", every="replaceAll"),
            _plain("search", "grep", "pattern", folder="path"),
            _plain("list", "list", folder="path"),
            Verb("shell", "bash", {"command": "command"}, further=_TIME | _WHY),
            _plain("fetch", "webfetch", "url"),
            _plain("todo", "todowrite", "todos"),
        ),
        numbered=True,
    ),
    Kit(
        "qwen-code",
        (
            _plain("read", "read_file", "offset", "limit", path="absolute_path"),
            _plain("write", "write_file", "content", path="file_path"),
            _plain("edit", "edit", path="file_path", old="old_string", new="new_string", every="replace_all"),
            _plain("search", "grep_search", "pattern", folder="path"),
            _plain("list", "list_directory", folder="path"),
            Verb("shell", "run_shell_command", {"command": "command"}, further=_WHY),
            _plain("fetch", "web_fetch", "url"),
            _plain("todo", "todo_write", "todos"),
        ),
    ),
    Kit(
        "copilot",
        (
            _plain("read", "view", "path", range="view_range"),
            _plain("write", "create", "path", content="file_text"),
            _plain("edit", "edit", "path", old="old_str", new="new_str"),
            _plain("search", "grep", "pattern", folder="path"),
            Verb("shell", "bash", {"command": "command"}, further=_WHY | _TIME),
            _plain("fetch", "web_fetch", "url"),
            _plain("todo", "update_todo", checklist="todos"),
        ),
        numbered=True,
    ),
    Kit(
        "cline",
        (
            _plain("read", "read_file", "path"),
            _plain("write", "write_to_file", "path", "content"),
            _plain("search", "search_files", folder="path", pattern="regex"),
            _plain("list", "list_files", folder="path"),
            Verb("shell", "execute_command", {"command": "command"}, further=_TIME),
            _plain("fetch", "web_fetch", "url"),
        ),
    ),
    Kit(
        "continue",
        (
            _plain("read", "Read", path="filepath"),
            _plain("write", "Write", "content", path="filepath"),
            _plain("edit", "Edit", path="file_path", old="old_string", new="new_string", every="replace_all"),
            _plain("search", "Search", "pattern", folder="path"),
            _plain("list", "List", folder="dirpath"),
            _plain("shell", "Bash", "command"),
            _plain("fetch", "Fetch", "url"),
            _plain("todo", "Checklist", "checklist"),
        ),
    ),
    Kit(
        "vibe",
        (
            _plain("read", "read_file", "path", "offset", "limit"),
            _plain("write", "write_file", "path", "content"),
            _plain("search", "grep", "pattern", folder="path"),
            Verb("shell", "bash", {"command": "command"}, further=_TIME),
            Verb("todo", "todo", {"todos": "todos"}, {"action": "write"}),
        ),
    ),
    Kit(
        "hermes",
        (
            _plain("read", "read_file", "path", "offset", "limit"),
            _plain("write", "write_file", "path", "content"),
            _plain("edit", "patch", "path", old="old_string", new="new_string", every="replace_all"),
            _plain("search", "search_files", "pattern", folder="path"),
            Verb("shell", "terminal", {"command": "command"}, further=_TIME),
            _plain("todo", "todo", "todos"),
        ),
        numbered=True,
    ),
    Kit(
        "pi",
        (
            _plain("read", "read", "path", "offset", "limit"),
            _plain("write", "write", "path", "content"),
            _plain("edit", "edit", "path", old="oldText", new="newText"),
            _plain("search", "grep", "pattern", folder="path"),
            _plain("list", "ls", folder="path"),
            Verb("shell", "bash", {"command": "command"}, further=_TIME),
        ),
    ),
    Kit(
        "openhands",
        (
            Verb("read", "file_editor", {"path": "path", "range": "view_range"}, {"command": "view"}),
            Verb("write", "file_editor", {"path": "path", "content": "file_text"}, {"command": "create"}),
            Verb(
                "edit",
                "file_editor",
                {"path": "path", "old": "old_str", "new": "new_str"},
                {"command": "str_replace"},
            ),
            Verb("shell", "terminal", {"command": "command"}, further=_TIME),
            Verb("todo", "task_tracker", {"todos": "task_list"}, {"command": "plan"}),
        ),
        numbered=True,
        entry=("title", "status"),
    ),
    Kit(
        "codex",
        (
            Verb("shell", "shell", {"argv": "command"}, further={"workdir": {"type": "string"}}),
            _plain("todo", "update_plan", todos="plan"),
        ),
        entry=("step", "status"),
    ),
    Kit("mini-swe-agent", (_plain("shell", "bash", "command"),)),
)  # fmt: skip
