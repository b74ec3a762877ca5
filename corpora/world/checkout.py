"""The state behind the repository toolbox: files of invented code, their tests and commits."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from corpora.lexicon import invented_name, invented_word, phrase
from corpora.world.base import State, content_id, error
from corpora.world.paragraphs import paragraph

_MOST_FILES = 24
_LONGEST = 4000
_BODIES = (
    "return {a} + {n}", "return {a} * {b}", 'return f"{{{a}}}-{{{b}}}"', "raise NotImplementedError",
    'print("{w}:", {a})\n    return {b}', "if {a} > {n}:\n        return {b}\n    return None",
    "for {b} in range({a}):\n        print({b}, end=\"\\n\")", 'assert {a} != {b}, "{w} is {n}"',
    "return [{b} for {b} in {a} if {b} != {n}]", "return {{'{w}': {a}, \"{b}\": {n}}}",
)  # fmt: skip


def open_checkout(rng: Random) -> State:
    """A fresh state: some files of code and notes, all committed."""
    files: dict[str, str] = {}
    while len(files) < 8:
        folder = rng.choice(("src/", "src/", "src/core/", "docs/", ""))
        ending = ".md" if folder in ("docs/", "") else ".py"
        files[folder + invented_word(rng) + ending] = draw_code(rng) if ending == ".py" else draw_notes(rng)
    return {"files": files, "changed": [], "commits": 0, "last": None}


def draw_code(rng: Random) -> str:
    """One to three small functions, some with a text in quotes, a few not written yet."""
    return "\n\n\n".join(_draw_function(rng) for _ in range(rng.choice((1, 1, 2, 3))))


def _draw_function(rng: Random) -> str:
    a, b, words = invented_word(rng, 1), invented_word(rng, 2), phrase(rng, 1, 3)
    words = "".join(sign for sign in words if sign.isalnum() or sign == " ")
    body = rng.choice(_BODIES).format(a=a, b=b, w=words, n=rng.randint(0, 99))
    comment = rng.choice(("", "", f'    """Say {words}."""\n', f"    # {words}\n"))
    return f"def {invented_word(rng, 2)}({a}, {b}):\n{comment}    {body}"


def draw_notes(rng: Random) -> str:
    """A heading and some lines of text."""
    return f"# {invented_name(rng)}\n\n{paragraph(rng, 5)}"


def tests_of(path: str) -> bool:
    """Whether a file of that name can have tests."""
    return path.endswith(".py")


def run_checkout(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    """Do a schema-valid call of the repository's tools on the state."""
    result = _RUN[name](state, arguments)
    wrote = name in ("write_file", "replace_text") and "error" not in result
    state["last"] = arguments["path"] if wrote else None
    return result


def _within(path: str, folder: str) -> bool:
    return not folder or path.startswith(folder.rstrip("/") + "/")


def _list(state: State, arguments: Mapping[str, Any]) -> Any:
    return [path for path in state["files"] if _within(path, arguments.get("folder", ""))]


def _read(state: State, arguments: Mapping[str, Any]) -> Any:
    text = state["files"].get(arguments["path"])
    if text is None:
        return error(f"no file {arguments['path']}")
    first, last = arguments.get("first_line", 1), arguments.get("last_line")
    lines = text.split("\n")[first - 1 : last]
    return "\n".join(lines)[:800] if lines else error(f"{arguments['path']} has no line {first}")


def _search(state: State, arguments: Mapping[str, Any]) -> Any:
    folded = arguments.get("ignore_case", False)
    text = arguments["text"].lower() if folded else arguments["text"]
    found = [
        {"path": path, "line": number, "text": line.strip()[:60]}
        for path, content in state["files"].items()
        if _within(path, arguments.get("folder", ""))
        for number, line in enumerate(content.split("\n"), 1)
        if text in (line.lower() if folded else line)
    ]
    return found[: min(arguments.get("max_results", 6), 6)]


def _note(state: State, path: str) -> None:
    if path not in state["changed"]:
        state["changed"].append(path)


def _write(state: State, arguments: Mapping[str, Any]) -> Any:
    path, content = arguments["path"], arguments["content"]
    if path not in state["files"] and len(state["files"]) >= _MOST_FILES:
        return error("no room for more files")
    if len(content) > _LONGEST:
        return error("the content is too long")
    state["files"][path] = content
    _note(state, path)
    return {"path": path, "lines": content.count("\n") + 1}


def _replace(state: State, arguments: Mapping[str, Any]) -> Any:
    path, old, new = arguments["path"], arguments["old"], arguments["new"]
    if path not in state["files"]:
        return error(f"no file {path}")
    text = state["files"][path]
    count = text.count(old) if old else 0
    if not count:
        return error(f"the text is not in {path}")
    count = count if arguments.get("all", False) else 1
    if len(text) + count * len(new) > _LONGEST:
        return error(f"{path} would be too long")
    state["files"][path] = text.replace(old, new, count)
    _note(state, path)
    return {"path": path, "replaced": count}


def _delete(state: State, arguments: Mapping[str, Any]) -> Any:
    path = arguments["path"]
    if path not in state["files"]:
        return error(f"no file {path}")
    del state["files"][path]
    state["changed"] = [one for one in state["changed"] if one != path]
    return {"deleted": path}


def _test(state: State, arguments: Mapping[str, Any]) -> Any:
    only = arguments.get("path")
    if only is not None and only not in state["files"]:
        return error(f"no file {only}")
    paths = [path for path in state["files"] if tests_of(path) and only in (None, path)]
    lines, failed, total = list[str](), 0, 0
    for path in paths:
        for part in state["files"][path].split("def ")[1:]:
            name, total = part.split("(")[0], total + 1
            if "NotImplementedError" in part:
                failed += 1
                lines.append(f"FAILED {path}::{name} - NotImplementedError")
            elif arguments.get("verbose", False):
                lines.append(f"PASSED {path}::{name}")
    return "\n".join([*lines[:10], f"{total - failed} passed, {failed} failed"])


def _commit(state: State, arguments: Mapping[str, Any]) -> Any:
    unchanged = [path for path in arguments["paths"] if path not in state["changed"]]
    if unchanged:
        return error(f"nothing to commit in {unchanged[0]}")
    state["changed"] = [path for path in state["changed"] if path not in arguments["paths"]]
    state["commits"] += 1
    key = content_id("c", arguments, state["commits"])
    return {"commit": key, "files": len(arguments["paths"])}


_RUN = {
    "list_files": _list, "read_file": _read, "search_code": _search, "write_file": _write, "commit": _commit,
    "replace_text": _replace, "delete_file": _delete, "run_tests": _test,
}  # fmt: skip
