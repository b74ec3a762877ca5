"""The repository toolbox: wishes to read, search and write code, to run tests and to commit."""

from __future__ import annotations

from random import Random
from typing import Any

from corpora.lexicon import invented_word, phrase
from corpora.world.base import Call, Plan, State, Toolbox, Wish, single, tool
from corpora.world.checkout import draw_code, draw_notes, open_checkout, run_checkout, tests_of
from corpora.world.saying import asked, closing, listed, quoted, trouble

_MOST_FILES = 12
_PATH = {"type": "string", "pattern": r"^[\w/.-]+$"}
_LINE = {"type": "integer", "minimum": 1}
_TOOLS = (
    tool("list_files", "Paths of the files, of a folder or of all.", {"folder": {"type": "string"}}),
    tool(
        "read_file",
        "Text of a file, or some of its lines.",
        {"path": _PATH, "first_line": _LINE, "last_line": _LINE},
        ("path",),
    ),
    tool(
        "search_code",
        "Lines that contain a text.",
        {
            "text": {"type": "string"},
            "folder": {"type": "string"},
            "ignore_case": {"type": "boolean"},
            "max_results": {"type": "integer", "minimum": 1, "maximum": 50},
        },
        ("text",),
    ),
    tool(
        "write_file",
        "Write a whole file.",
        {"path": _PATH, "content": {"type": "string"}},
        ("path", "content"),
    ),
    tool(
        "replace_text",
        "Replace a text in a file.",
        {
            "path": _PATH,
            "old": {"type": "string"},
            "new": {"type": "string"},
            "all": {"type": "boolean", "description": "Every occurrence, not just the first"},
        },
        ("path", "old", "new"),
    ),
    tool(
        "run_tests",
        "Run the tests of a file or of all.",
        {"path": _PATH, "verbose": {"type": "boolean"}},
    ),
    tool("delete_file", "Delete a file.", {"path": _PATH}, ("path",)),
    tool(
        "commit",
        "Commit changed files.",
        {
            "message": {"type": "string"},
            "paths": {"type": "array", "items": _PATH, "minItems": 1},
        },
        ("message", "paths"),
    ),
)


def _path(rng: Random, state: State, ending: str = "") -> str:
    paths = [str(path) for path in state["files"] if path.endswith(ending)]
    if not paths or rng.random() < 0.06:
        return f"src/{invented_word(rng)}{ending or '.py'}"
    return rng.choice(paths)


def _named(rng: Random, path: str) -> str:
    return f"`{path}`" if rng.random() < 0.15 else path


def list_files(rng: Random, state: State) -> Wish:
    """list_files, of a folder or of all."""
    folders = sorted({path.split("/")[0] for path in state["files"] if "/" in path})
    folder = rng.choice(folders) if folders and rng.random() < 0.6 else ""
    forms = (
        "list the files{f}", "show me [all |the |]files{f}", "What files are there{f}?", "ls{f}",
        "Which files do we have{f}?", "I need the list of files{f}", "give me the file names{f}", "Files{f}?",
        "tell me what is there{f}",
    )  # fmt: skip
    cue = rng.choice((" in {}", " in {}", " under {}", " in the folder {}")).format(folder) if folder else ""
    call = Call("list_files", {"folder": folder} if folder else {})
    return Wish(asked(rng, forms, f=cue), single(call, lambda found: f"There are {len(found)} files."))


def read(rng: Random, state: State) -> Wish:
    """read_file, whole or from one line to another."""
    arguments: dict[str, Any] = {"path": _path(rng, state)}
    lines = ""
    if rng.random() < 0.4:
        first = rng.randint(1, 5)
        last = first + rng.randint(1, 12)
        arguments |= {"first_line": first, "last_line": last}
        cue = rng.choice((", lines {} to {}", " from line {} to line {}", ", line {} to {}", ", lines {}-{}"))
        lines = cue.format(first, last)
    forms = (
        "read {p}{x}", "open {p}{x}", "show me {p}{x}", "What is in {p}{x}?", "cat {p}{x}",
        "let me see {p}{x}",
        "print the file {p}{x}", "I want to see {p}{x}", "Show {p} to me{x}", "have a look into {p}{x}",
        "get the text of {p}{x}",
    )  # fmt: skip
    text = asked(rng, forms, p=_named(rng, arguments["path"]), x=lines)
    return Wish(text, single(Call("read_file", arguments), rng.choice(("There it is.", "That is the file."))))


def read_several(rng: Random, state: State) -> Wish:
    """read_file, two or three at once."""
    paths = rng.sample(list(state["files"]), min(len(state["files"]), rng.choice((2, 2, 3))))
    forms = (
        "read {p}", "open [both |]{p}" if len(paths) == 2 else "open {p}", "show me {p}", "What is in {p}?",
        "I need to see {p}", "cat {p}", "print the files {p}", "compare {p}, read them",
        "get me the text of {p}",
    )  # fmt: skip

    def plan() -> Plan:
        results = yield tuple(Call("read_file", {"path": path}) for path in paths)
        return trouble(*results) or "Those are the files."

    return Wish(asked(rng, forms, p=listed(rng, paths)), plan())


def _some_text(rng: Random, state: State) -> str:
    texts: list[str] = list(state["files"].values())
    code = [line.strip() for text in texts for line in text.split("\n") if line.strip()]
    if rng.random() < 0.1 or not code:
        return invented_word(rng, 2)
    line = rng.choice(code)
    return line if rng.random() < 0.3 else rng.choice(line.split())


def search(rng: Random, state: State) -> Wish:
    """search_code, with its options now and then."""
    arguments: dict[str, Any] = {"text": _some_text(rng, state)}
    said = ""
    if rng.random() < 0.3:
        arguments["folder"] = folder = rng.choice(("src", "docs", "src/core"))
        said += rng.choice((" in {}", " in the folder {}", " under {}")).format(folder)
    if rng.random() < 0.3:
        arguments["ignore_case"] = ignore = rng.random() < 0.7
        said += rng.choice((", ignore case", ", ignoring case") if ignore else (", don't ignore case",))
    if rng.random() < 0.3:
        arguments["max_results"] = most = rng.randint(1, 20)
        said += rng.choice((", at most {} results", ", max {} results", ", {} results")).format(most)
    forms = (
        "search [the code |]for {t}{x}", "grep [for |]{t}{x}", "find {t}{x}", "Where do we use {t}{x}?",
        "look for {t}{x}", "Which lines contain {t}{x}?", "Where is {t}{x}?", "Any {t}{x}?",
        "I'm looking for {t}{x}", "find every line with {t}{x}",
    )  # fmt: skip
    text = asked(rng, forms, t=quoted(rng, arguments["text"]), x=said)
    close = closing(rng, "{r} lines.", "I found {r}.", "{r} of them.")
    return Wish(text, single(Call("search_code", arguments), lambda found: close(len(found))))


def search_then_read(rng: Random, state: State) -> Wish:
    """search_code for a text that stands in one file, then read_file for it."""
    words = sorted({word for text in state["files"].values() for word in text.split() if len(word) > 5})
    held = [word for word in words if sum(word in text for text in state["files"].values()) == 1]
    if not held:
        return search(rng, state)
    text = rng.choice(held)
    forms = (
        "search for {t} and open the file it is in", "find {t} and read that file",
        "Where is {t}? Open that file.",
        "grep {t}, then show me the file", "look for {t} and then read the whole file it stands in",
        "Which file has {t}? Read it to me.", "I don't know where {t} is. Find it and open the file",
        "find the file with {t} and show me all of it",
    )  # fmt: skip

    def plan() -> Plan:
        (found,) = yield (Call("search_code", {"text": text}),)
        path = found[0]["path"]
        (result,) = yield (Call("read_file", {"path": path}),)
        return trouble(result) or f"It is in {path}."

    return Wish(asked(rng, forms, t=quoted(rng, text)), plan())


_WRITE = (
    "Write this to {p}:\n```\n{c}\n```", "Create the file {p} with this content:\n```\n{c}\n```",
    "{p} should be\n```\n{c}\n```", "Put the following into {p}, please.\n```\n{c}\n```",
    "```\n{c}\n```\nSave this as {p}", "```\n{c}\n```\nThat is for {p}, please write it.",
    "I have a new text for {p}:\n```\n{c}\n```\nWrite it.", "can you write {p}? Content:\n```\n{c}\n```",
    "Overwrite {p} with\n```\n{c}\n```", "New file {p}\n```\n{c}\n```",
)  # fmt: skip


def write(rng: Random, state: State) -> Wish:
    """write_file, a new file or one that is there."""
    fresh = len(state["files"]) < _MOST_FILES and rng.random() < 0.6
    ending = rng.choice((".py", ".py", ".md", ".txt"))
    path = f"{rng.choice(('src', 'docs', 'tools'))}/{invented_word(rng)}{ending}"
    if not fresh:
        path = rng.choice(list(state["files"]) or [path])
    content = draw_code(rng) if path.endswith(".py") else draw_notes(rng)
    call = Call("write_file", {"path": path, "content": content})
    words = closing(rng, "Wrote {r[path]}.", "{r[path]} has {r[lines]} lines now.", "Saved.")
    return Wish(asked(rng, _WRITE, p=path, c=content), single(call, words))


def replace(rng: Random, state: State) -> Wish:
    """replace_text by something that stands in the file, or seldom does not."""
    path = _path(rng, state)
    old = _some_text(rng, {"files": {path: state["files"].get(path, "")}})
    new = phrase(rng, 1, 3) if rng.random() < 0.5 else f"{invented_word(rng)}({rng.randint(0, 99)})"
    arguments: dict[str, Any] = {"path": path, "old": old, "new": new}
    said = ""
    if rng.random() < 0.35:
        arguments["all"] = every = rng.random() < 0.6
        said = rng.choice(
            (", all of them", ", everywhere") if every else (", not all of them", ", once only")
        )
    slots = {"p": _named(rng, path), "o": quoted(rng, old), "n": quoted(rng, new), "x": said}
    forms = (
        "replace {o} by {n} in {p}{x}", "in {p}, replace {o} with {n}{x}", "change {o} to {n} in {p}{x}",
        "{p}: {o} should be {n}{x}", "In {p}, {o} must become {n}{x}", "swap {o} for {n} in {p}{x}",
        "edit {p}: replace {o} with {n}{x}", "I want {n} instead of {o} in {p}{x}",
        "turn {o} into {n} in {p}{x}",
    )  # fmt: skip
    words = closing(rng, "Replaced {r[replaced]}.", "Done in {r[path]}.", "Changed.")
    return Wish(asked(rng, forms, **slots), single(Call("replace_text", arguments), words))


def run_tests(rng: Random, state: State) -> Wish:
    """run_tests, of a file or of all, verbose now and then."""
    arguments: dict[str, Any] = {}
    said = ""
    if rng.random() < 0.6:
        arguments["path"] = path = _path(rng, state, ".py")
        said += rng.choice((" of {}", " for {}", " in {}")).format(path)
    if rng.random() < 0.4:
        arguments["verbose"] = verbose = rng.random() < 0.7
        said += rng.choice((", verbose", ", make it verbose") if verbose else (", not verbose",))
    forms = (
        "run the tests{x}", "test it, run the tests{x}", "Do the tests pass? Run them{x}", "run all tests{x}"
        if "path" not in arguments else "run just the tests{x}", "start the tests{x}", "Tests, please{x}",
        "check the tests{x}", "let the tests run{x}", "I want to see the tests{x}",
    )  # fmt: skip
    return Wish(asked(rng, forms, x=said), single(Call("run_tests", arguments), _verdict))


def _verdict(result: Any) -> str:
    return "Some tests fail." if "FAILED" in result else "All tests pass."


def open_failure(rng: Random, state: State) -> Wish:
    """run_tests, then read_file for the first file that fails; nothing more where none does."""
    forms = (
        "run the tests and open the first file that fails", "run all tests, then read the first failing file",
        "Do the tests pass? If not, show me the first file with a failure.",
        "test all and open what fails first",
        "check the tests; if one fails, read its file",
        "run the tests and show me the file of the first failure",
        "Something is broken. Run the tests and read the first file that fails.",
        "start the tests, and if any fails open the first file that does",
    )  # fmt: skip

    def plan() -> Plan:
        (report,) = yield (Call("run_tests", {}),)
        failed = [line.split()[1].split("::")[0] for line in report.split("\n") if line.startswith("FAILED")]
        if not failed:
            return "All tests pass."
        (result,) = yield (Call("read_file", {"path": failed[0]}),)
        return trouble(result) or f"{failed[0]} fails."

    return Wish(asked(rng, forms), plan())


def delete(rng: Random, state: State) -> Wish:
    """delete_file."""
    if len(state["files"]) < 5:
        return write(rng, state)
    path = _path(rng, state)
    forms = (
        "delete {p}", "remove [the file |]{p}", "rm {p}", "get rid of {p}", "{p} is not needed, delete it",
        "We can delete {p}", "drop the file {p}", "Nobody uses {p}, please delete it", "erase {p}",
    )  # fmt: skip
    call = Call("delete_file", {"path": path})
    return Wish(
        asked(rng, forms, p=_named(rng, path)),
        single(call, closing(rng, "{r[deleted]} is gone.", "Deleted.")),
    )


_COMMIT = (
    "commit {p} with the message {m}", "commit {p}: {m}", "commit {p}, message {m}",
    "Commit message {m}, for {p}",
    "make a commit of {p} saying {m}", "check in {p} as {m}", "I want {p} committed with {m}",
    "record {p} in a commit, message: {m}", "Please commit {p}. The message is {m}",
)  # fmt: skip


def commit(rng: Random, state: State) -> Wish:
    """commit of files that have changed; where none has, seldom of one that has not."""
    if not state["changed"] and rng.random() < 0.9:
        return replace(rng, state)
    changed = state["changed"] or list(state["files"])[:1] or ["src/none.py"]
    paths = rng.sample(changed, min(len(changed), rng.choice((1, 1, 2, 3))))
    message = phrase(rng, 2, 6)
    call = Call("commit", {"message": message, "paths": paths})
    text = asked(rng, _COMMIT, p=listed(rng, paths), m=quoted(rng, message))
    return Wish(text, single(call, closing(rng, "Committed as {r[commit]}.", "It is commit {r[commit]}.")))


def write_and_test(rng: Random, state: State) -> Wish:
    """write_file, then run_tests of what was written."""
    path = f"src/{invented_word(rng)}.py" if len(state["files"]) < _MOST_FILES else _path(rng, state, ".py")
    code = draw_code(rng)
    forms = (
        "Write this to {p} and then run its tests:\n```\n{c}\n```",
        "```\n{c}\n```\nSave as {p}, then test that file.",
        "First write {p}:\n```\n{c}\n```\nThen run the tests of that file.",
        "Put this in {p} and, after that, run the tests for it\n```\n{c}\n```",
        "{p} should be as follows. Write it, then run its tests.\n```\n{c}\n```",
        "can you write {p} and then test it?\n```\n{c}\n```",
        "```\n{c}\n```\nThis goes to {p}. Then run its tests.",
        "New code for {p}, write it and test it afterwards:\n```\n{c}\n```",
    )  # fmt: skip

    def plan() -> Plan:
        (written,) = yield (Call("write_file", {"path": path, "content": code}),)
        if trouble(written):
            return trouble(written)
        (report,) = yield (Call("run_tests", {"path": path}),)
        return _verdict(report)

    return Wish(asked(rng, forms, p=path, c=code), plan())


def test_last(rng: Random, state: State) -> Wish:
    """read_file, run_tests or commit of the file that was written or changed in the message before."""
    path = state["last"]
    if path is None:
        return run_tests(rng, state)
    deed = rng.choice(("test", "read", "commit"))
    if deed == "commit":
        message = phrase(rng, 2, 6)
        forms = (
            "commit that [file |]as {m}",
            "Commit it, message {m}",
            "now commit this file: {m}",
            "Commit it: {m}",
        )
        call = Call("commit", {"message": message, "paths": [path]})
        text = asked(rng, forms, m=quoted(rng, message))
        return Wish(text, single(call, closing(rng, "It is {r[commit]}.")))
    if deed == "read" or not tests_of(path):
        forms = (
            "show me that file",
            "read it again",
            "let me see the file now",
            "What does the file look like now?",
        )
        return Wish(asked(rng, forms), single(Call("read_file", {"path": path}), "There it is."))
    forms = (
        "run the tests of that file",
        "and run its tests",
        "Does it pass? Run its tests.",
        "test that file",
    )
    return Wish(asked(rng, forms), single(Call("run_tests", {"path": path}), _verdict))


TOOLBOX = Toolbox(
    name="repository",
    purpose="You work on a code repository through tools.",
    tools=_TOOLS,
    open=open_checkout,
    run=run_checkout,
    wishes={
        list_files: 5, read: 12, read_several: 7, search: 12, search_then_read: 9, write: 11, replace: 12,
        run_tests: 8, open_failure: 6, delete: 5, commit: 9, write_and_test: 5, test_last: 12,
    },
)  # fmt: skip
