"""The project that an agent works on: files of invented code with tests, pages on the web, and todos."""

from __future__ import annotations

import re
from random import Random

from corpora import lexicon
from corpora.world.base import State

MOST_FILES = 40
_LONGEST_FILE = 9000
_LONGEST_RESULT = 6000
_MOST_HITS = 40
_BODIES = (
    "    total = 0\n    for {a} in range({n}):\n        total += {a} * {m}\n    print(total)\n",
    "    # {p}\n    {a} = {n}\n    if {a} > {m}:\n        print({a})\n",
    '    """{p}."""\n    {a} = [{n}, {m}]\n    {a}.sort()\n    print({a}[0])\n',
    "    {a} = {{}}\n    {a}['{b}'] = {n}\n    # {p}\n    print(len({a}))\n",
    "    for {a} in ({n}, {m}):\n        if {a} == {m}:\n            print('{b}')\n",
)


def open_project(rng: Random) -> State:
    """A fresh state: modules and their tests, a file of settings, notes, and a few pages on the web."""
    files: dict[str, str] = {}
    package = f"src/{lexicon.invented_word(rng, 2)}"
    while len(files) < 9:
        name = lexicon.invented_word(rng, 2)
        if f"{package}/{name}.py" not in files:
            functions = _draw_functions(rng, rng.choice((3, 4, 6, 8, 14)))
            files[f"{package}/{name}.py"] = _module(rng, functions)
            files[f"tests/test_{name}.py"] = _tests(rng, f"{package}/{name}", functions)
    settings = {lexicon.invented_word(rng, 2): rng.randint(2, 900) for _ in range(8)}
    files["settings.ini"] = "[main]\n" + "\n".join(f"{key} = {value}" for key, value in settings.items())
    files["README.md"] = _notes(rng, 8)
    files[f"docs/{lexicon.invented_word(rng, 2)}.md"] = _notes(rng, 30)
    keys = list(settings)
    pages = {lexicon.url(rng): _page(rng, rng.sample(keys, 2)) for _ in range(4)}
    root = f"/home/{lexicon.invented_word(rng, 2)}/{lexicon.invented_word(rng, 2)}"
    return {
        "root": root,
        "files": files,
        "pages": pages,
        "todos": [],
        "changed": [],
        "commits": [],
        "last": "",
    }


def _draw_functions(rng: Random, count: int) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    while len(found) < count:
        found[lexicon.invented_word(rng, 3)] = rng.randint(10, 990)
    return list(found.items())


def _module(rng: Random, functions: list[tuple[str, int]]) -> str:
    parts = [f'"""{_plain(rng).capitalize()}."""']
    for name, value in functions:
        body = rng.choice(_BODIES).format(
            a=lexicon.invented_word(rng, 1), b=lexicon.invented_word(rng, 2), p=_plain(rng),
            n=rng.randint(2, 99), m=rng.randint(2, 99),
        )  # fmt: skip
        parts.append(f"def {name}():\n{body}    return {value}")
    return "\n\n\n".join(parts) + "\n"


def _tests(rng: Random, module: str, functions: list[tuple[str, int]]) -> str:
    """Tests of a module's functions; now and then one expects something else than the module gives."""
    lines = [f"from {module.replace('/', '.')} import {', '.join(name for name, _ in functions)}"]
    wrong = rng.choice(functions)[0] if rng.random() < 0.8 else ""
    for name, value in functions:
        due = value + rng.randint(1, 9) if name == wrong else value
        lines.append(f"\n\ndef test_{name}():\n    assert {name}() == {due}")
    return "\n".join(lines) + "\n"


def _plain(rng: Random) -> str:
    text = lexicon.phrase(rng, 3, 7)
    return " ".join("".join(sign for sign in text if sign.isalnum() or sign == " ").split()).lower()


def _notes(rng: Random, count: int) -> str:
    lines = [f"# {lexicon.invented_name(rng)}", ""]
    lines += [f"{_plain(rng).capitalize()}. {_plain(rng).capitalize()}." for _ in range(count)]
    return "\n".join(lines) + "\n"


def _page(rng: Random, keys: list[str]) -> str:
    lines = _notes(rng, rng.randint(6, 40)).split("\n")
    for key in keys:
        lines.insert(rng.randrange(2, len(lines)), f"The value of {key} is {rng.randint(1000, 9999)}.")
    return "\n".join(lines)


def missing(path: str) -> str:
    """What a tool says of a file there is not."""
    return f"error: no file {path}"


def shortened(text: str) -> str:
    """A result as agents cut it."""
    return text if len(text) <= _LONGEST_RESULT else f"{text[:_LONGEST_RESULT]}\n[... cut off]"


def read_lines(state: State, path: str, first: int, last: int | None, numbered: bool = False) -> str:
    """A file, or some of its lines."""
    text = state["files"].get(path)
    if text is None:
        return missing(path)
    lines = text.split("\n")[first - 1 : last]
    if not lines or first < 1:
        return f"error: {path} has no line {first}"
    if numbered:
        lines = [f"{number:>5}\t{line}" for number, line in enumerate(lines, first)]
    return shortened("\n".join(lines))


def write_file(state: State, path: str, content: str) -> str:
    """Writes a whole file."""
    if path not in state["files"] and len(state["files"]) >= MOST_FILES:
        return "error: no room for more files"
    if len(content) > _LONGEST_FILE or not path:
        return f"error: {path or 'the file'} cannot be written"
    state["files"][path] = content
    _note(state, path)
    return f"wrote {content.count(chr(10)) + 1} lines to {path}"


def edit_file(state: State, path: str, old: str, new: str, every: bool = False) -> str:
    """Replaces a text once, or everywhere."""
    text = state["files"].get(path)
    if text is None:
        return missing(path)
    count = text.count(old) if old else 0
    if not count:
        return f"error: the text is not in {path}"
    count = count if every else 1
    if len(text) + count * len(new) > _LONGEST_FILE:
        return f"error: {path} would be too long"
    state["files"][path] = text.replace(old, new, count)
    _note(state, path)
    return f"replaced {count} in {path}"


def _note(state: State, path: str) -> None:
    if path not in state["changed"]:
        state["changed"].append(path)
    state["last"] = path


def within(path: str, folder: str) -> bool:
    """Whether a path lies in a folder; "" and "." are the project's own."""
    inner = folder.removeprefix("./").rstrip("/")
    return inner in ("", ".") or path.startswith(inner + "/")


def list_folder(state: State, folder: str) -> str:
    """The paths of the files in a folder and below it."""
    found = [path for path in state["files"] if within(path, folder)]
    return "\n".join(sorted(found)) or f"error: no folder {folder}"


def search_files(state: State, pattern: str, folder: str) -> str:
    """Lines that contain a text, as `path:line: text`."""
    found = [
        f"{path}:{number}: {line.strip()[:120]}"
        for path, text in sorted(state["files"].items())
        if within(path, folder) or path == folder
        for number, line in enumerate(text.split("\n"), 1)
        if pattern in line
    ]
    return "\n".join(found[:_MOST_HITS]) or "no matches"


_ASSERTION = re.compile(r"assert (\w+)\(\) == (\d+)")


def failures(state: State, only: str = "") -> tuple[list[str], int]:
    """The lines of the tests that fail, and how many pass. only: a test file; "" for all."""
    values = {
        name: (path, value)
        for path, text in state["files"].items()
        if path.endswith(".py") and not path.startswith("tests/")
        for name, value in re.findall(r"def (\w+)\(\):\n(?:(?!def ).*\n)*?    return (\d+)", text)
    }
    failed, passed = list[str](), 0
    for path, text in sorted(state["files"].items()):
        if not path.startswith("tests/") or only not in ("", path):
            continue
        for name, due in _ASSERTION.findall(text):
            source, value = values.get(name, ("", "nothing"))
            if value == due:
                passed += 1
            else:
                failed.append(
                    f"FAILED {path}::test_{name} - {name}() in {source}: expected {due}, got {value}"
                )
    return failed, passed


def run_tests(state: State, only: str) -> str:
    """What a test runner prints."""
    if only and only not in state["files"]:
        return missing(only)
    failed, passed = failures(state, only)
    dots = "." * passed + "F" * len(failed)
    return "\n".join([dots, *failed[:6], f"{len(failed)} failed, {passed} passed"])
