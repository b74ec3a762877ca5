"""The files toolbox: wishes to read, write, search and share text files in a folder tree."""

from __future__ import annotations

from random import Random
from typing import Any

from corpora import lexicon
from corpora.invention import draw_date
from corpora.world.base import Call, Plan, State, Toolbox, Wish, single
from corpora.world.files_store import (
    LEVELS,
    MOST_FILES,
    TOOLS,
    draw_path,
    folders,
    in_folder,
    open_files,
    run_files,
    search,
)
from corpora.world.saying import asked, closing, listed, quoted, trouble


def _path(rng: Random, state: State) -> str:
    """A file there is, or seldom one there is not."""
    if not state["files"] or rng.random() < 0.07:
        return draw_path(rng, folders(state))
    return str(rng.choice(list(state["files"])))


def _free_path(rng: Random, state: State) -> str:
    return draw_path(rng, folders(state))


def _text(rng: Random, most: int = 3) -> str:
    return "\n".join(lexicon.phrase(rng, 2, 6) for _ in range(rng.randint(1, most)))


_LIST = (
    "What is in {f}?", "list [the folder |]{f}", "show me [the files in|the folder] {f}",
    "What files are in {f}?",
    "which files does {f} have?", "look into {f}", "ls {f}", "I want to see what {f} holds.",
    "open the folder {f}",
    "Anything in {f}?",
)  # fmt: skip


def list_folder(rng: Random, state: State) -> Wish:
    """list_folder, of one folder or two at once."""
    known = folders(state)
    if len(known) > 1 and rng.random() < 0.3:
        wanted = rng.sample(known, 2)
    else:
        new = not known or rng.random() < 0.07
        wanted = [f"/{lexicon.invented_word(rng, 2)}" if new else rng.choice(known)]

    def plan() -> Plan:
        found = yield tuple(Call("list_folder", {"folder": one}) for one in wanted)
        counts = " and ".join(str(len(one)) for one in found)
        return trouble(*found) or form.format(n=counts)

    form = rng.choice(("I found {n}.", "Files there: {n}.", "There: {n}."))
    return Wish(asked(rng, _LIST, f=" and ".join(wanted)), plan())


_READ = (
    "read {p}", "read me {p}", "What does {p} say?", "show [me |]{p}", "What is in the file {p}?", "open {p}",
    "cat {p}", "I want to see the text of {p}.", "print {p}", "let me see {p}", "give me the text of {p}",
)  # fmt: skip


def read_file(rng: Random, state: State) -> Wish:
    """read_file, with max_lines now and then."""
    arguments: dict[str, Any] = {"path": _path(rng, state)}
    said = str(arguments["path"])
    if rng.random() < 0.3:
        arguments["max_lines"] = count = rng.randint(1, 20)
        said += rng.choice((", max {} lines", ", at most {} lines", ", only {} lines")).format(count)
    words = closing(rng, "That is the text.", "Here it is.", "That is what it says.")
    return Wish(asked(rng, _READ, p=said), single(Call("read_file", arguments), words))


def read_several(rng: Random, state: State) -> Wish:
    """read_file of two or three files at once."""
    paths = list(state["files"])
    if len(paths) < 3:
        return write_file(rng, state)
    wanted = rng.sample(paths, rng.choice((2, 2, 3)))

    def plan() -> Plan:
        found = yield tuple(Call("read_file", {"path": path}) for path in wanted)
        return trouble(*found) or f"These are the {len(found)} texts."

    return Wish(asked(rng, _READ, p=listed(rng, wanted)), plan())


def write_file(rng: Random, state: State) -> Wish:
    """write_file, seldom over a file there is."""
    if len(state["files"]) >= MOST_FILES:
        return delete_files(rng, state)
    path, content = _free_path(rng, state), _text(rng)
    arguments: dict[str, Any] = {"path": path, "content": content}
    said = ""
    if rng.random() < 0.3:
        arguments["overwrite"] = overwrite = rng.random() < 0.6
        yes, no = (
            (", overwrite it", " and overwrite what is there"),
            (", do not overwrite", " without overwriting"),
        )
        said = rng.choice(yes if overwrite else no)
    templates = (
        "write {t} to {p}{x}", "save {t} as {p}{x}", "create {p} with {t}{x}",
        "make a file {p} with the text {t}{x}",
        "put {t} into a new file {p}{x}", "Write to {p}{x}: {t}", "I need a file {p} that says {t}{x}",
        "New file {p} with {t}{x}", "store {t} in {p}{x}", "{p} should be a file with {t}{x}",
    )  # fmt: skip
    words = closing(
        rng, "{r[path]} is written.", "Saved to {r[path]}.", "{r[characters]} characters are written."
    )
    return Wish(
        asked(rng, templates, p=path, t=quoted(rng, content), x=said),
        single(Call("write_file", arguments), words),
    )


def append_text(rng: Random, state: State) -> Wish:
    """append_text by the path."""
    path, text = _path(rng, state), _text(rng, 2)
    templates = (
        "append {t} to {p}", "add {t} to the end of {p}", "add {t} to {p}", "{p} also needs {t}, append it",
        "append to {p}: {t}", "put {t} at the end of {p}", "{t} should go at the end of {p}",
        "extend {p} with {t}",
        "I want {t} added to {p}",
    )  # fmt: skip
    words = closing(rng, "{r[path]} has {r[lines]} lines now.", "Added to {r[path]}.", "Added.")
    call = Call("append_text", {"path": path, "text": text})
    return Wish(asked(rng, templates, p=path, t=quoted(rng, text)), single(call, words))


def move_file(rng: Random, state: State) -> Wish:
    """move_file, of one file or two at once."""
    sources = [_path(rng, state)]
    if len(state["files"]) > 2 and rng.random() < 0.25:
        sources = rng.sample(list(state["files"]), 2)
    calls = tuple(Call("move_file", {"source": one, "target": _free_path(rng, state)}) for one in sources)
    pairs = " and ".join(f"{call.arguments['source']} to {call.arguments['target']}" for call in calls)
    templates = (
        "move {m}", "rename {m}", "mv {m}", "I want to move {m}", "Move {m}, please",
        "{m}, please move [it|that]",
        "change the name of {m}", "relocate {m}", "we have to move {m}",
    )  # fmt: skip

    def plan() -> Plan:
        found = yield calls
        return trouble(*found) or f"It is {' and '.join(one['path'] for one in found)} now."

    return Wish(asked(rng, templates, m=pairs), plan())


def delete_files(rng: Random, state: State) -> Wish:
    """delete_files, up to three, or the one that was written in the message before."""
    last = state["last"] in state["files"] and rng.random() < 0.6
    known = list(state["files"])
    paths = rng.sample(known, min(len(known), rng.choice((1, 1, 2, 3)))) if rng.random() > 0.07 else []
    paths = [state["last"]] if last else paths or [draw_path(rng, folders(state))]
    named = (
        "delete {p}", "remove {p}", "rm {p}", "get rid of {p}", "I don't need {p} any more, delete [it|that]",
        "throw away {p}", "Away with {p}.", "{p} can be deleted", "erase {p}",
    )  # fmt: skip
    again = (
        "delete that [file |]again", "No, delete that file", "Sorry, wrong, remove the file you just wrote",
        "remove it again",
        "undo that, delete the new file", "delete the file you just made", "that was wrong, delete it",
        "take it away again, delete it",
    )  # fmt: skip
    words = closing(rng, "Deleted, {r[deleted]} in all.", "{r[deleted]} deleted.", "That is gone.")
    call = Call("delete_files", {"paths": paths})
    return Wish(asked(rng, again if last else named, p=listed(rng, paths)), single(call, words))


def _word(rng: Random, state: State) -> tuple[str, list[dict[str, Any]]]:
    """A word out of a file and where it is found; an unknown word now and then."""
    if not state["files"] or rng.random() < 0.1:
        word = lexicon.invented_word(rng, 3)
    else:
        text = rng.choice(list(state["files"].values()))
        words = [one for one in text.split() if len(one) > 3 and one.isalpha()]
        word = rng.choice(words) if words else lexicon.invented_word(rng, 3)
    return word, search(state, word)


def search_text(rng: Random, state: State) -> Wish:
    """search_text, with its options."""
    word, _ = _word(rng, state)
    arguments: dict[str, Any] = {"query": word}
    said = ""
    known = folders(state)
    if known and rng.random() < 0.35:
        arguments["folder"] = folder = rng.choice(known)
        said += rng.choice((" in {}", " in the folder {}", ", only in {}")).format(folder)
    if rng.random() < 0.25:
        arguments["case_sensitive"] = case = rng.random() < 0.6
        said += rng.choice(
            (", case sensitive", ", make it case sensitive") if case else (", not case sensitive",)
        )
    templates = (
        "search for {q}{x}", "which files contain {q}{x}?", "Where does {q} occur{x}?", "find {q}{x}",
        "grep {q}{x}",
        "look for the text {q}{x}", "which files mention {q}{x}?", "search the files for {q}{x}",
        "Is {q} anywhere{x}?",
    )  # fmt: skip
    form = rng.choice(("{n} found.", "It is in {n}.", "I found {n}."))
    plan = single(Call("search_text", arguments), lambda found: form.format(n=len(found)))
    return Wish(asked(rng, templates, q=quoted(rng, word), x=said), plan)


def read_found(rng: Random, state: State) -> Wish:
    """search_text, then read_file of the only file that holds the word."""
    word, found = _word(rng, state)
    if len(found) != 1:
        return search_text(rng, state)
    templates = (
        "find the file with {q} and read it", "search for {q} and show me that file",
        "look for {q}, then open the file",
        "which file mentions {q}? Read it to me.", "find {q} and read me the file",
        "search {q} and print the file",
        "There is a file with {q} in it. Find it and read it.",
        "I want to read the file that holds {q}, search for it",
    )  # fmt: skip

    def plan() -> Plan:
        (rows,) = yield (Call("search_text", {"query": word}),)
        yield (Call("read_file", {"path": rows[0]["path"]}),)
        return f"That is {rows[0]['path']}."

    return Wish(asked(rng, templates, q=rng.choice((word, f'"{word}"'))), plan())


def add_to_found(rng: Random, state: State) -> Wish:
    """search_text, then append_text to the only file that holds the word."""
    word, found = _word(rng, state)
    if len(found) != 1:
        return search_text(rng, state)
    text = _text(rng, 2)
    templates = (
        "find the file with {q} and append {t} to it", "search for {q} and add {t} to that file",
        "The file that mentions {q} also needs {t}, search it and append that",
        "look for {q} and append {t} to the file",
        "which file has {q}? Append {t} to it.", "add {t} to the file with {q} in it, search for it first",
        "find {q}, then add {t} to the end of the file", "search {q} and extend that file with {t}",
    )  # fmt: skip

    def plan() -> Plan:
        (rows,) = yield (Call("search_text", {"query": word}),)
        (result,) = yield (Call("append_text", {"path": rows[0]["path"], "text": text}),)
        return trouble(result) or f"{result['path']} has {result['lines']} lines now."

    return Wish(asked(rng, templates, q=rng.choice((word, f'"{word}"')), t=quoted(rng, text)), plan())


def copy_file(rng: Random, state: State) -> Wish:
    """read_file, then write_file of the same text under another path."""
    short = [path for path, text in state["files"].items() if len(text) < 160]
    if not short or len(state["files"]) >= MOST_FILES:
        return read_file(rng, state)
    source, target = rng.choice(short), _free_path(rng, state)
    templates = (
        "read {p} and write the same text to {w}", "copy {p} to {w}: read it, then write it",
        "read {p}, then save its text as {w}",
        "make a copy of {p} as {w}, read it first", "read {p} and put its text into {w}",
        "I want a copy of {p} in {w}, read it and write it",
        "look at the text of {p} and write it to {w}",
        "{w} should say the same as {p}, read that and write it", "open {p} and duplicate it as {w}",
    )  # fmt: skip

    def plan() -> Plan:
        (text,) = yield (Call("read_file", {"path": source}),)
        (result,) = yield (Call("write_file", {"path": target, "content": text}),)
        return trouble(result) or f"{target} is a copy of {source}."

    return Wish(asked(rng, templates, p=source, w=target), plan())


def empty_folder(rng: Random, state: State) -> Wish:
    """list_folder, then delete_files with all that it showed."""
    small = [one for one in folders(state) if 0 < len(in_folder(state, one)) <= 3]
    if not small:
        return list_folder(rng, state)
    folder = rng.choice(small)
    templates = (
        "list {f} and delete all files in it", "list [the folder |]{f} and empty it",
        "see what is in {f} and delete everything",
        "clear {f}, look what is in it first",
        "look into {f} and delete every file there", "list {f}, I need it empty, so delete all its files",
        "look what {f} holds and wipe it, delete all",
        "show {f}, then delete all of it", "All files in {f} can go, list and delete them.",
    )  # fmt: skip

    def plan() -> Plan:
        (paths,) = yield (Call("list_folder", {"folder": folder}),)
        (result,) = yield (Call("delete_files", {"paths": paths}),)
        return trouble(result) or f"{folder} is empty, {result['deleted']} deleted."

    return Wish(asked(rng, templates, f=folder), plan())


def share_file(rng: Random, state: State) -> Wish:
    """share_file."""
    path, person, level = _path(rng, state), lexicon.invented_name(rng), rng.choice(LEVELS)
    access = {"person": person, "level": level}
    said = ""
    if rng.random() < 0.4:
        access["until"] = until = draw_date(rng)
        said = rng.choice((" until {}", ", until {}", ", ending {}")).format(until)
    templates = (
        "share {p} with {c}, level {l}{x}", "give {c} {l} access to {p}{x}", "let {c} {l} {p}{x}",
        "{c} may {l} {p}{x}, share it",
        "share {p} with {c} for {l}{x}", "{c} needs {l} rights for {p}{x}", "grant {c} {l} access to {p}{x}",
        "I want {c} to {l} {p}{x}, share it", "open {p} to {c} with {l} rights{x}",
    )  # fmt: skip
    words = closing(
        rng, "{r[person]} can {r[level]} it now.", "{r[path]} is shared with {r[person]}.", "Shared."
    )
    call = Call("share_file", {"path": path, "access": access})
    return Wish(asked(rng, templates, p=path, c=person, l=level, x=said), single(call, words))


def read_last(rng: Random, state: State) -> Wish:
    """read_file of the file that was written in the message before."""
    path = state["last"]
    if path not in state["files"]:
        return read_file(rng, state)
    templates = (
        "read it back", "show me that file", "What does the new file say?", "read the file you just wrote",
        "open it again",
        "let me see what you wrote, read it", "print that file", "Is it right? Read it to me.",
        "read that file to me",
    )  # fmt: skip
    words = closing(rng, "That is the text.", "That is what it says.")
    return Wish(asked(rng, templates), single(Call("read_file", {"path": path}), words))


TOOLBOX = Toolbox(
    name="files",
    purpose="You look after a folder tree of text files.",
    tools=TOOLS,
    open=open_files,
    run=run_files,
    wishes={
        list_folder: 3, read_file: 3, read_several: 3, write_file: 7, append_text: 3, move_file: 3,
        delete_files: 3, search_text: 3, read_found: 3, add_to_found: 2, copy_file: 3, empty_folder: 1,
        share_file: 4, read_last: 3,
    },
)  # fmt: skip
