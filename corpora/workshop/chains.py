"""Wishes of several acts: what a result says goes into the next call."""

from __future__ import annotations

import re
from random import Random

from corpora import lexicon
from corpora.workshop.kits import Kit
from corpora.workshop.project import failures, search_files
from corpora.workshop.wishes import edit, failure_of, read, run_tests, simple_text, told_tests
from corpora.world.base import Plan, State, Wish
from corpora.world.saying import asked

_FAILED = re.compile(r"- (\w+)\(\) in (\S+): expected (\d+), got (\d+)")


def search_then_read(kit: Kit, rng: Random, state: State) -> Wish:
    """A function is looked for, and the file that defines it is read."""
    names = re.findall(
        r"def (\w+)\(", "\n".join(text for path, text in state["files"].items() if "src" in path)
    )
    name = rng.choice(names)
    if len(search_files(state, f"def {name}(", "src").splitlines()) != 1:
        return read(kit, rng, state)
    forms = (
        'find the file in src with "def {n}(" and read it', 'search src for "def {n}(" and open that file',
        'Which file in src has "def {n}("? Show it to me.', 'look for "def {n}(" in src, then read the file',
    )  # fmt: skip

    def plan() -> Plan:
        (found,) = yield (kit.call("search", pattern=f"def {name}(", folder="src"),)
        path = found.split(":")[0]
        (text,) = yield (kit.call("read", path=path),)
        return failure_of(text) or f"{name} is in {path}."

    return Wish(asked(rng, forms, n=name), plan())


def fix_test(kit: Kit, rng: Random, state: State) -> Wish:
    """A failing test is run, the function that it tests is read and corrected, and the test is run again."""
    failing = [one for one in failures(state)[0] if "got nothing" not in one]
    if not failing:
        return run_tests(kit, rng, state)
    test = rng.choice(failing).split()[1].partition("::")[0]
    lines = [one for one in failing if f" {test}::" in one]
    found = _FAILED.search(lines[0])
    if len(lines) != 1 or found is None or state["files"][found[2]].count(f"return {found[4]}\n") != 1:
        return run_tests(kit, rng, state)
    forms = (
        "{t} fails. Run it, read the file, and let the function return what is expected, then run it again.",
        "fix {t}: run it, read the file with the function, return what the test expects and test again",
        "repair what {t} tests, so that it passes; run it before and after, and read the code first",
    )  # fmt: skip

    def plan() -> Plan:
        test_call = kit.call("shell", command=f"pytest -q {test}")
        (report,) = yield (test_call,)
        told = _FAILED.search(report)
        assert told is not None
        name, path, due, got = told.groups()
        yield (kit.call("read", path=path),)
        yield (kit.call("edit", path=path, old=f"return {got}", new=f"return {due}"),)
        (again,) = yield (test_call,)
        return f"{name} returns {due} now." if again.endswith("passed") else told_tests(again)

    return Wish(asked(rng, forms, t=test), plan())


def rename(kit: Kit, rng: Random, state: State) -> Wish:
    """A function is renamed in the files where it occurs, all at once."""
    edits = next((verb for verb in kit.verbs if verb.act == "edit"), None)
    path = rng.choice([one for one in state["files"] if one.startswith("src/")])
    names = re.findall(r"def (\w+)\(", state["files"][path])
    if not names or (edits is not None and "every" not in edits.names):
        return edit(kit, rng, state)
    old, new = rng.choice(names), lexicon.invented_word(rng, 3)
    hits = search_files(state, old, "")
    files = list(dict.fromkeys(line.split(":")[0] for line in hits.splitlines()))
    if len(files) > 3 or new in hits:
        return edit(kit, rng, state)
    forms = (
        "rename {o} to {n} in every file that has it, search for it first",
        "search for {o} and replace it by {n} everywhere, in all files",
        "{o} should be called {n}. Find it and change it everywhere.",
    )  # fmt: skip

    def plan() -> Plan:
        (found,) = yield (kit.call("search", pattern=old),)
        paths = list(dict.fromkeys(line.split(":")[0] for line in found.splitlines()))
        results = yield tuple(kit.call("edit", path=one, old=old, new=new, every=True) for one in paths)
        return failure_of(results[0]) or f"{old} is {new} now in {' and '.join(paths)}."

    return Wish(asked(rng, forms, o=old, n=new), plan())


def set_from_page(kit: Kit, rng: Random, state: State) -> Wish:
    """A page tells a value; the settings are read and get it."""
    url = rng.choice(list(state["pages"]))
    keys = re.findall(r"The value of (\w+) is", state["pages"][url])
    settings = state["files"].get("settings.ini", "")
    key = rng.choice(keys) if keys else ""
    line = next((one for one in settings.split("\n") if one.startswith(f"{key} = ")), "")
    if not key or not line:
        return read(kit, rng, state)
    forms = (
        "fetch {u}, read settings.ini and set {k} there to the value that the page gives",
        "{u} says what {k} should be. Fetch it, read settings.ini, then edit it.",
        "look up {k} at {u}, read settings.ini and put the value in",
    )  # fmt: skip

    def plan() -> Plan:
        (page,) = yield (kit.call("fetch", url=url),)
        value = page.split(f"The value of {key} is ")[1].split(".")[0]
        yield (kit.call("read", path="settings.ini"),)
        (result,) = yield (kit.call("edit", path="settings.ini", old=line, new=f"{key} = {value}"),)
        return failure_of(result) or f"{key} is {value} now."

    return Wish(asked(rng, forms, u=url, k=key), plan())


def plan_todos(kit: Kit, rng: Random, state: State) -> Wish:
    """A new list of todos; the first is in progress."""
    steps = [simple_text(rng, 2, 4) for _ in range(rng.randint(2, 4))]
    forms = (
        "make a list of todos: {s}; begin with the first", "note these todos and start the first one: {s}",
        "plan this: {s}. The first is in progress.", "todos: {s}. Set the first to in progress.",
    )  # fmt: skip
    todos = [(step, "pending" if at else "in_progress") for at, step in enumerate(steps)]
    return _todo_wish(
        kit, asked(rng, forms, s="; ".join(f'"{step}"' for step in steps)), todos, "It is noted."
    )


def tick_todo(kit: Kit, rng: Random, state: State) -> Wish:
    """The todo in progress is done; the next one begins."""
    todos = [tuple(one) for one in state["todos"]]
    at = next((i for i, (_, status) in enumerate(todos) if status == "in_progress"), None)
    if at is None:
        return plan_todos(kit, rng, state)
    done = [(text, "completed" if i == at else status) for i, (text, status) in enumerate(todos)]
    if at + 1 < len(done):
        done[at + 1] = (done[at + 1][0], "in_progress")
    forms = (
        'the todo "{t}" is done, go on with the next', 'tick off "{t}" and begin the next todo',
        '"{t}" is completed; update the todos and start the next',
    )  # fmt: skip
    return _todo_wish(kit, asked(rng, forms, t=todos[at][0]), done, f"{todos[at][0]} is done.")


def _todo_wish(kit: Kit, text: str, todos: list[tuple[str, str]], reply: str) -> Wish:
    def plan() -> Plan:
        (result,) = yield (kit.call("todo", todos=todos),)
        return failure_of(result) or reply

    return Wish(text, plan())
