"""A toolbox for each kit of agents' tools, with the interface of the tool world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from corpora.workshop import chains, wishes
from corpora.workshop.commands import run_command
from corpora.workshop.kits import KITS, Kit
from corpora.workshop.project import (
    edit_file,
    list_folder,
    open_project,
    read_lines,
    search_files,
    shortened,
    write_file,
)
from corpora.workshop.wishes import Drawing
from corpora.world.base import State, Toolbox, Wish

_PURPOSE = (
    "You are an agent that works on a project through tools. Tests: `pytest -q` or `pytest -q FILE`."
    ' Commits: `git commit -am "MESSAGE"`.'
)
#: each wish, how often it comes, and the acts that a kit must have for it
_WISHES: tuple[tuple[Drawing, int, tuple[str, ...]], ...] = (
    (wishes.read, 10, ()), (wishes.read_lines, 12, ()), (wishes.read_two, 5, ()), (wishes.list_files, 6, ()),
    (wishes.search, 10, ()), (wishes.edit, 12, ()), (wishes.write, 7, ()), (wishes.command, 8, ()),
    (wishes.run_tests, 7, ()), (wishes.commit, 5, ()), (wishes.fetch, 3, ("fetch",)),
    (chains.search_then_read, 6, ()), (chains.fix_test, 7, ()), (chains.rename, 5, ()),
    (chains.set_from_page, 4, ("fetch",)),
    (chains.plan_todos, 3, ("todo",)), (chains.tick_todo, 4, ("todo",)),
)  # fmt: skip


#: what an act cannot do without, where one tool has several acts, so that no schema says so
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "read": ("path",), "write": ("path", "content"), "edit": ("path", "old", "new"), "search": ("pattern",),
    "list": (), "shell": ("command",), "fetch": ("url",), "todo": (),
}  # fmt: skip


def workshop(kit: Kit) -> Toolbox:
    """The workshop with the tools of one kit."""

    def run(state: State, name: str, arguments: Mapping[str, Any]) -> str:
        try:
            act, given = kit.read_call(name, arguments)
        except KeyError:
            return "error: nothing is done by these arguments"
        lacking = [one for one in _NEEDED[act] if one not in given]
        if lacking:
            return f"error: {lacking[0]} is missing"
        return shortened(_do(kit, state, act, given))

    drawn = {_bound(kit, wish): weight for wish, weight, acts in _WISHES if all(map(kit.has, acts))}
    return Toolbox(f"workshop_{kit.name.replace('-', '_')}", _PURPOSE, kit.tools, open_project, run, drawn)


def _bound(kit: Kit, wish: Drawing) -> Callable[[Random, State], Wish]:
    def drawn(rng: Random, state: State) -> Wish:
        return wish(kit, rng, state)

    drawn.__name__ = getattr(wish, "__name__", "wish")
    return drawn


def _do(kit: Kit, state: State, act: str, given: Mapping[str, Any]) -> str:
    """An act on the state, its arguments by our own names."""
    match act:
        case "read":
            return _read(kit, state, given)
        case "write":
            return write_file(state, given["path"], given["content"])
        case "edit":
            every = given.get("every", False)
            return edit_file(state, given["path"], given["old"], given["new"], every)
        case "search":
            return search_files(state, given["pattern"], given.get("folder", ""))
        case "list":
            return list_folder(state, given.get("folder", ""))
        case "shell":
            return run_command(state, given["command"])
        case "fetch":
            page = state["pages"].get(given["url"])
            return f"error: {given['url']} was not found" if page is None else str(page)
        case _:
            return _note_todos(kit, state, given)


def _read(kit: Kit, state: State, given: Mapping[str, Any]) -> str:
    first, last = given.get("offset", 1), None
    if "limit" in given:
        last = first + given["limit"] - 1
    if "range" in given:
        first, last = given["range"]
        last = None if last == -1 else last
    return read_lines(state, given["path"], first, last, kit.numbered)


_MARKS = {" ": "pending", "~": "in_progress", "x": "completed"}


def _note_todos(kit: Kit, state: State, given: Mapping[str, Any]) -> str:
    if "checklist" in given:
        lines = [line for line in given["checklist"].split("\n") if line.startswith("- [")]
        state["todos"] = [[line[6:], _MARKS.get(line[3:4], "pending")] for line in lines]
    else:
        text, status = kit.entry
        state["todos"] = [[one[text], one[status]] for one in given["todos"]]
    open_ones = sum(status != "completed" for _, status in state["todos"])
    return f"{len(state['todos'])} todos, {open_ones} of them open"


WORKSHOPS: tuple[Toolbox, ...] = tuple(map(workshop, KITS))
