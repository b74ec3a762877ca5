"""What somebody wants of an agent in a project: wishes of one act, in the words of a kit."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from corpora import lexicon
from corpora.workshop.kits import Kit
from corpora.workshop.project import search_files
from corpora.world.base import Call, Plan, State, Wish
from corpora.world.saying import asked, listed, quoted

#: draws a wish that a kit can serve
Drawing = Callable[[Kit, Random, State], Wish]


def one_call(call: Call, reply: str) -> Plan:
    """The plan of one call; an error is told in its own words."""
    (result,) = yield (call,)
    return failure_of(result) or reply


def failure_of(result: str) -> str:
    """The closing words of a result that is an error; "" if it is none."""
    if not result.startswith(("error:", "bash:")):
        return ""
    return f"That did not work: {result.partition(': ')[2].splitlines()[0]}."


def any_path(rng: Random, state: State, folder: str = "") -> str:
    """A file there is, or seldom one there is not."""
    if rng.random() < 0.05:
        return f"src/{lexicon.invented_word(rng, 2)}.py"
    return str(rng.choice([path for path in state["files"] if path.startswith(folder)]))


def simple_text(rng: Random, shortest: int = 2, longest: int = 5) -> str:
    """Words without quotes or marks, which a command line could not hold plainly."""
    text = lexicon.phrase(rng, shortest, longest)
    return " ".join("".join(sign for sign in text if sign.isalnum() or sign.isspace()).split())


_READ = (
    "read {p}", "open {p}", "show me {p}", "What is in {p}?", "have a look at {p}", "I need to see {p}",
    "let me see {p}", "look into {p}", "What does {p} say?", "take a look at {p}",
)  # fmt: skip


def read(kit: Kit, rng: Random, state: State) -> Wish:
    """A whole file."""
    path = any_path(rng, state)
    reply = rng.choice((f"That is {path}.", f"I have read {path}.", "There it is."))
    return Wish(asked(rng, _READ, p=path), one_call(kit.call("read", path=path), reply))


def read_lines(kit: Kit, rng: Random, state: State) -> Wish:
    """Some lines of a file."""
    read_verb = next((verb for verb in kit.verbs if verb.act == "read"), None)
    if read_verb is not None and not {"offset", "range"} & set(read_verb.names):
        return read(kit, rng, state)
    path, first, count = any_path(rng, state, "src/"), rng.randint(1, 30), rng.randint(5, 40)
    if kit.ranged == "offset":
        cue = rng.choice((", {n} lines from line {a} on", ", from line {a}, {n} lines")).format(
            a=first, n=count
        )
        call = kit.call("read", path=path, offset=first, limit=count)
    else:
        cue = rng.choice((", lines {a} to {b}", ", from line {a} to line {b}", ", lines {a}-{b}"))
        cue = cue.format(a=first, b=first + count)
        call = kit.call("read", path=path, range=[first, first + count])
    text = asked(rng, tuple(one for one in _READ if "?" not in one), p=path + cue)
    return Wish(text, one_call(call, f"Those are the lines of {path}."))


def read_two(kit: Kit, rng: Random, state: State) -> Wish:
    """Two or three files at once."""
    paths = rng.sample([path for path in state["files"] if len(state["files"][path]) < 1500], 2)

    def plan() -> Plan:
        yield tuple(kit.call("read", path=path) for path in paths)
        return f"I have read {' and '.join(paths)}."

    return Wish(asked(rng, (*_READ, "compare {p}, read both"), p=listed(rng, paths)), plan())


def list_files(kit: Kit, rng: Random, state: State) -> Wish:
    """The files of a folder."""
    folder = rng.choice(("src", "tests", "docs", "src", "tests"))
    forms = (
        "list the files in {f}", "What is in the folder {f}?", "which files are in {f}?",
        "show me the folder {f}",
        "look what {f} has", "I want to know what is in {f}.",
    )  # fmt: skip
    return Wish(
        asked(rng, forms, f=folder),
        one_call(kit.call("list", folder=folder), f"Those are the files in {folder}."),
    )


def _term(rng: Random, state: State) -> str:
    text = state["files"][rng.choice([path for path in state["files"] if path.startswith("src/")])]
    words = [word for word in text.replace("(", " ").replace(")", " ").split() if word.isalpha()]
    return str(rng.choice([word for word in words if len(word) > 4] or ["return"]))


_SEARCH = (
    "search for {q}{x}", "where does {q} occur{x}?", "find {q}{x}", "grep for {q}{x}",
    "Which lines have {q}{x}?",
    "look for {q}{x}", "Is {q} used anywhere{x}?",
)  # fmt: skip


def search(kit: Kit, rng: Random, state: State) -> Wish:
    """Lines that contain a text, in a folder or everywhere."""
    term, given = _term(rng, state), dict[str, Any]()
    said = ""
    if rng.random() < 0.5:
        given["folder"] = folder = rng.choice(("src", "tests", "docs"))
        said = f" in {folder}"
    found = search_files(state, term, given.get("folder", ""))
    count = 0 if found == "no matches" else len(found.splitlines())
    reply = f"There is no {term}." if not count else f"I found {term}."
    call = kit.call("search", pattern=term, **given)
    return Wish(asked(rng, _SEARCH, q=quoted(rng, term), x=said), one_call(call, reply))


def edit(kit: Kit, rng: Random, state: State) -> Wish:
    """A text of a file is replaced by another."""
    path = any_path(rng, state, "src/")
    lines = [line.strip() for line in state["files"].get(path, "").split("\n")]
    old = rng.choice(
        [line for line in lines if 8 < len(line) < 60 and not set("'\"\\|") & set(line)] or ["gone"]
    )
    new = (
        simple_text(rng, 1, 4)
        if rng.random() < 0.4
        else f"{lexicon.invented_word(rng)} = {rng.randint(1, 99)}"
    )
    given: dict[str, Any] = {"path": path, "old": old, "new": new}
    said = ""
    edit_verb = next((verb for verb in kit.verbs if verb.act == "edit"), None)
    if rng.random() < 0.25 and (edit_verb is None or "every" in edit_verb.names):
        given["every"] = True
        said = rng.choice((", everywhere", ", all of them"))
    forms = (
        "replace {o} by {n} in {p}{x}", "in {p}, change {o} to {n}{x}", "edit {p}: {o} becomes {n}{x}",
        "In {p}, {o} should be {n}{x}", "I want {n} instead of {o} in {p}{x}",
    )  # fmt: skip
    text = asked(rng, forms, o=quoted(rng, old), n=quoted(rng, new), p=path, x=said)
    return Wish(text, one_call(kit.call("edit", **given), rng.choice((f"{path} is changed.", "Changed."))))


def write(kit: Kit, rng: Random, state: State) -> Wish:
    """A new file, or a small one anew."""
    if len(state["files"]) > 34:
        return edit(kit, rng, state)
    path = f"docs/{lexicon.invented_word(rng)}.md"
    content = "\n".join(simple_text(rng, 3, 7) for _ in range(rng.randint(1, 5)))
    forms = (
        "write this to {p}:\n```\n{c}\n```", "Create {p} with this text:\n```\n{c}\n```",
        "```\n{c}\n```\nSave that as {p}.", "put this into a new file {p}\n```\n{c}\n```",
        "{p} should say:\n```\n{c}\n```",
    )  # fmt: skip
    call = kit.call("write", path=path, content=content)
    return Wish(asked(rng, forms, p=path, c=content), one_call(call, f"{path} is written."))


def command(kit: Kit, rng: Random, state: State) -> Wish:
    """A command that the user says."""
    path = any_path(rng, state)
    line = rng.choice(
        (
            "git status", "git log --oneline", f"wc -l {path}", f"head -n {rng.randint(3, 40)} {path}", "pwd",
            "git diff", f"cat {path}", "python -m pytest -q", f"grep -rn {_term(rng, state)} src",
        )
    )  # fmt: skip
    forms = (
        "run `{c}`",
        "run {c}",
        "execute `{c}`",
        "What does `{c}` say?",
        "please run {c}",
        "$ {c}",
        "{c}",
    )
    return Wish(asked(rng, forms, c=line), one_call(kit.call("shell", command=line), "That is what it says."))


def run_tests(kit: Kit, rng: Random, state: State) -> Wish:
    """The tests of a file, or all."""
    path = any_path(rng, state, "tests/") if rng.random() < 0.6 else ""
    forms = ("run the tests{x}", "do the tests pass{x}? Run them", "test it{x}", "start the tests{x}")
    if not path:
        forms = (
            "run all tests",
            "do all tests pass? Run them",
            "run the whole test suite",
            "test everything",
        )

    def plan() -> Plan:
        (report,) = yield (kit.call("shell", command=f"pytest -q {path}".strip()),)
        return failure_of(report) or told_tests(report)

    return Wish(asked(rng, forms, x=f" of {path}"), plan())


def told_tests(report: str) -> str:
    """The sentence about a report of tests."""
    last = report.splitlines()[-1]
    return "All tests pass." if last.startswith("0 failed") else f"Some tests fail: {last}."


def commit(kit: Kit, rng: Random, state: State) -> Wish:
    """All that has changed, with a message."""
    if not state["changed"]:
        return edit(kit, rng, state)
    message = simple_text(rng, 2, 6)
    forms = (
        "commit all of it with the message {m}", "commit that: {m}", "commit the changes as {m}",
        "make a commit, message {m}", "Commit everything. The message is {m}.",
    )  # fmt: skip
    call = kit.call("shell", command=f'git commit -am "{message}"')
    return Wish(asked(rng, forms, m=f'"{message}"'), one_call(call, "It is committed."))


def fetch(kit: Kit, rng: Random, state: State) -> Wish:
    """A page on the web."""
    url = rng.choice(list(state["pages"])) if rng.random() > 0.08 else lexicon.url(rng)
    forms = ("fetch {u}", "open {u}", "What does {u} say?", "get the page {u}", "look at {u}", "read {u}")
    return Wish(asked(rng, forms, u=url), one_call(kit.call("fetch", url=url), "I have read the page."))
