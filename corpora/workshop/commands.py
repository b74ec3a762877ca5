"""The commands of a small shell: how acts are written as commands, and what commands do to a project."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from corpora.workshop.project import (
    edit_file,
    list_folder,
    missing,
    read_lines,
    run_tests,
    search_files,
    write_file,
)
from corpora.world.base import State

_HEREDOC = re.compile(r"cat > (\S+) << 'EOF'\n(.*)\nEOF\s*", re.DOTALL)
_SED = re.compile(r"(\d+),(\d+)p")


def as_command(act: str, given: Mapping[str, Any]) -> str:
    """An act as one command line."""
    path = str(given.get("path", ""))
    match act:
        case "read" if "range" in given:
            return f"sed -n '{given['range'][0]},{given['range'][1]}p' {path}"
        case "read":
            return f"cat {path}"
        case "list":
            return f"ls {given['folder']}" if given.get("folder") else "ls"
        case "search":
            text = shlex.quote(str(given["pattern"]))
            return f"grep -rn {text} {given.get('folder') or '.'}"
        case "edit":
            every = "g" if given.get("every") else ""
            script = f"s|{given['old']}|{given['new']}|{every}"
            return f"sed -i {shlex.quote(script)} {path}"
        case _:
            return f"cat > {path} << 'EOF'\n{given['content']}\nEOF"


def run_command(state: State, command: str) -> str:
    """What a command prints. What the shell does not know is said as a shell says it."""
    heredoc = _HEREDOC.fullmatch(command)
    if heredoc is not None:
        return _said(write_file(state, heredoc[1], heredoc[2]))
    try:
        name, *given = shlex.split(command) or ("",)
    except ValueError as problem:
        return f"bash: {problem}"
    if not name:
        return "bash: no command"
    run = _RUN.get(name)
    if run is None:
        return f"bash: {name}: command not found"
    return run(state, given) or "(no output)"


def _said(result: str) -> str:
    """A shell says nothing where all is well."""
    return result if result.startswith("error:") else "(no output)"


def _cat(state: State, given: list[str]) -> str:
    return "\n".join(read_lines(state, path, 1, None) for path in given if not path.startswith("-"))


def _sed(state: State, given: list[str]) -> str:
    if len(given) != 3:
        return "sed: usage: sed -n 'A,Bp' FILE, or sed -i 's|old|new|' FILE"
    option, script, path = given
    lines = _SED.fullmatch(script)
    if option == "-n" and lines is not None:
        return read_lines(state, path, int(lines[1]), int(lines[2]))
    parts = script.split("|")
    if option != "-i" or len(parts) != 4 or parts[0] != "s":
        return f"sed: unknown command: {script}"
    result = edit_file(state, path, parts[1], parts[2], every=parts[3] == "g")
    return result if result.startswith("error: no file") else ""


def _ls(state: State, given: list[str]) -> str:
    folders = [one for one in given if not one.startswith("-")]
    return list_folder(state, folders[0] if folders else "")


def _grep(state: State, given: list[str]) -> str:
    plain = [one for one in given if not one.startswith("-")]
    if not plain:
        return "grep: no pattern"
    return search_files(state, plain[0], plain[1] if len(plain) > 1 else "")


def _pytest(state: State, given: list[str]) -> str:
    paths = [one for one in given if not one.startswith("-")]
    return run_tests(state, paths[0] if paths else "")


def _python(state: State, given: list[str]) -> str:
    if given[:2] == ["-m", "pytest"]:
        return _pytest(state, given[2:])
    return "python: nothing to run here but -m pytest"


def _git(state: State, given: list[str]) -> str:
    match given[:1]:
        case ["status"]:
            return "\n".join(f" M {path}" for path in state["changed"]) or "nothing to commit"
        case ["diff"]:
            return "\n".join(f"diff --git a/{path} b/{path}" for path in state["changed"])
        case ["log"]:
            return "\n".join(reversed(state["commits"][-10:])) or "no commits yet"
        case ["commit"] if len(given) == 3 and given[1] in ("-m", "-am"):
            return _commit(state, given[2])
    return f"git: {' '.join(given[:1])!r} is not a git command here"


def _commit(state: State, message: str) -> str:
    if not state["changed"]:
        return "nothing to commit"
    number = len(state["commits"]) + 1
    state["commits"].append(f"{number:07x} {message}")
    count = len(state["changed"])
    state["changed"] = []
    return f"[main {number:07x}] {message}\n {count} files changed"


def _wc(state: State, given: list[str]) -> str:
    path = given[-1] if given else ""
    text = state["files"].get(path)
    return missing(path) if text is None else f"{text.count(chr(10)) + 1} {path}"


def _head(state: State, given: list[str]) -> str:
    if len(given) != 3 or given[0] != "-n" or not given[1].isdigit():
        return "head: usage: head -n N FILE"
    return read_lines(state, given[2], 1, int(given[1]))


_RUN: Mapping[str, Callable[[State, list[str]], str]] = {
    "cat": _cat, "sed": _sed, "ls": _ls, "grep": _grep, "pytest": _pytest, "python": _python, "git": _git,
    "wc": _wc, "head": _head, "pwd": lambda state, given: str(state["root"]),
}  # fmt: skip
