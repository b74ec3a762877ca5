"""The files behind their toolbox: the tools, their contents, and what a call does to them."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from corpora import lexicon
from corpora.world.base import State, error, tool

LEVELS = ("view", "comment", "edit")
MOST_FILES = 16
_LONGEST = 600
_ENDINGS = (".txt", ".md", ".csv", ".log", ".json")
_STRING = {"type": "string"}
_ACCESS = {
    "type": "object",
    "properties": {
        "person": _STRING,
        "level": {"type": "string", "enum": list(LEVELS)},
        "until": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
    },
    "required": ["person", "level"],
}
TOOLS = (
    tool("list_folder", "The files in a folder", {"folder": _STRING}, ("folder",)),
    tool(
        "read_file",
        "The text of a file",
        {"path": _STRING, "max_lines": {"type": "integer", "minimum": 1, "maximum": 100}},
        ("path",),
    ),
    tool(
        "write_file",
        "Make a file with some text",
        {"path": _STRING, "content": _STRING, "overwrite": {"type": "boolean"}},
        ("path", "content"),
    ),
    tool(
        "append_text", "Add lines to the end of a file", {"path": _STRING, "text": _STRING}, ("path", "text")
    ),
    tool("move_file", "Move or rename a file", {"source": _STRING, "target": _STRING}, ("source", "target")),
    tool(
        "delete_files",
        "Delete one or more files",
        {"paths": {"type": "array", "items": _STRING, "minItems": 1}},
        ("paths",),
    ),
    tool(
        "search_text",
        "Find the files that hold a text",
        {"query": _STRING, "folder": _STRING, "case_sensitive": {"type": "boolean"}},
        ("query",),
    ),
    tool(
        "share_file",
        "Give a person access to a file",
        {"path": _STRING, "access": _ACCESS},
        ("path", "access"),
    ),
)


def open_files(rng: Random) -> State:
    """Nine files in three folders, some of them of several lines."""
    folders = [f"/{lexicon.invented_word(rng, 2)}" for _ in range(3)]
    state: State = {"files": {}, "shares": {}, "last": ""}
    while len(state["files"]) < 9:
        lines = rng.choice((1, 1, 2, 3, 4, 10))
        text = "\n".join(lexicon.phrase(rng, 3, 7) for _ in range(lines))
        state["files"][draw_path(rng, folders)] = text[:_LONGEST]
    return state


def draw_path(rng: Random, folders: list[str]) -> str:
    """A path that is likely to be free, mostly in one of the folders."""
    known = folders and rng.random() < 0.8
    folder = rng.choice(folders) if known else f"/{lexicon.invented_word(rng, 2)}"
    stem = (
        lexicon.invented_word(rng)
        if rng.random() < 0.8
        else f"{rng.choice(lexicon.NOUNS)}_{rng.randint(1, 99)}"
    )
    return f"{folder}/{stem}{rng.choice(_ENDINGS)}"


def folder_of(path: str) -> str:
    """All before the last slash."""
    return path.rsplit("/", 1)[0]


def folders(state: State) -> list[str]:
    """The folders that hold a file."""
    return sorted({folder_of(path) for path in state["files"]})


def run_files(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    """Do a call; `last` is the file that was written, if that was the call before."""
    state["last"] = ""
    match name:
        case "list_folder":
            found = in_folder(state, arguments["folder"])
            return found[:8] or error(f"no folder {arguments['folder']}")
        case "search_text":
            return search(state, **arguments)
        case "write_file":
            return _write(state, **arguments)
        case "delete_files":
            return _delete(state, arguments["paths"])
        case "move_file":
            return _move(state, arguments["source"], arguments["target"])
        case _:
            return _one(state, name, arguments)


def in_folder(state: State, folder: str) -> list[str]:
    """The paths in a folder."""
    return [path for path in state["files"] if folder_of(path) == folder.rstrip("/")]


def search(state: State, query: str, folder: str = "", case_sensitive: bool = False) -> list[dict[str, Any]]:
    """The first line of each file that holds the text, at most six."""
    wanted = query if case_sensitive else query.lower()
    found = []
    for path, text in state["files"].items():
        lines = (text if case_sensitive else text.lower()).splitlines()
        number = next((at for at, line in enumerate(lines, 1) if wanted in line), 0)
        if number and (not folder or folder_of(path) == folder.rstrip("/")):
            found.append({"path": path, "line": number})
    return found[:6]


def _write(state: State, path: str, content: str, overwrite: bool = False) -> Any:
    if path in state["files"] and not overwrite:
        return error(f"{path} exists already")
    if len(state["files"]) >= 2 * MOST_FILES:
        return error("the disk is full")
    if len(content) > 2 * _LONGEST:
        return error("the text is too long")
    state["files"][path] = content
    state["last"] = path
    return {"path": path, "characters": len(content)}


def _delete(state: State, paths: list[str]) -> Any:
    missing = [path for path in paths if path not in state["files"]]
    if missing:
        return error(f"no file {missing[0]}")
    for path in set(paths):
        del state["files"][path]
        state["shares"].pop(path, None)
    return {"deleted": len(set(paths))}


def _move(state: State, source: str, target: str) -> Any:
    if source not in state["files"]:
        return error(f"no file {source}")
    if target in state["files"]:
        return error(f"{target} exists already")
    state["files"][target] = state["files"].pop(source)
    state["shares"].pop(source, None)
    return {"path": target}


def _one(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    path = arguments["path"]
    if path not in state["files"]:
        return error(f"no file {path}")
    text = state["files"][path]
    match name:
        case "read_file":
            return "\n".join(text.splitlines()[: arguments.get("max_lines", 100)])
        case "append_text":
            if len(text) + len(arguments["text"]) > _LONGEST:
                return error(f"{path} is full")
            state["files"][path] = f"{text}\n{arguments['text']}"
            return {"path": path, "lines": len(state["files"][path].splitlines())}
        case _:
            access = arguments["access"]
            state["shares"][path] = access
            return {"path": path, "person": access["person"], "level": access["level"]}
