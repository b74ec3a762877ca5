"""Every workshop: calls fit their schemas, loops have the length of an agent's, any call has an answer."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import jsonschema_rs
import pytest
from tokenizers import Tokenizer

from corpora.examinations.rules import sentence_flaw
from corpora.rendering import render_spans
from corpora.workshop import WORKSHOPS
from corpora.workshop.commands import as_command, run_command
from corpora.workshop.kits import KITS
from corpora.workshop.project import failures, open_project
from corpora.world.base import Call, Toolbox
from corpora.world.script import Script, play, to_conversation, write_script
from tests.corpora.world.test_toolboxes import assert_ordered, assert_said, drawn, strings, words
from tests.corpora.world.test_unplanned import spoiled

TURNS = 40
WORDS = Path(__file__).parents[3] / "engine" / "models" / "fortieth-tiny" / "tokenizer.json"
NAMES = [one.name for one in WORKSHOPS]
every_workshop = pytest.mark.parametrize("name", NAMES)


def box(name: str) -> Toolbox:
    return next(one for one in WORKSHOPS if one.name == name)


@cache
def script(name: str, seed: int) -> Script:
    return write_script(Random(f"{name} {seed}"), box(name), TURNS)


def calls(name: str) -> Iterator[Call]:
    for seed in (1, 2, 3):
        for task in script(name, seed).tasks:
            for turn in task.turns:
                yield from turn.calls


def test_a_dozen_agents_have_their_tools() -> None:
    assert len({kit.name for kit in KITS}) == len(KITS) >= 10
    acts = Counter(verb.act for kit in KITS for verb in kit.verbs)
    assert set(acts) == {"read", "write", "edit", "search", "list", "shell", "fetch", "todo"}
    assert len({verb.tool for kit in KITS for verb in kit.verbs if verb.act == "shell"}) >= 6


@every_workshop
def test_calls_fit_their_schemas_in_their_order(name: str) -> None:
    schemas = {one["function"]["name"]: one["function"]["parameters"] for one in box(name).tools}
    validators = {one: jsonschema_rs.validator_for(schema) for one, schema in schemas.items()}
    used = set()
    for call in calls(name):
        validators[call.name].validate(dict(call.arguments))
        assert_ordered(dict(call.arguments), schemas[call.name], call.name)
        used.add(call.name)
    assert used == set(schemas)


@every_workshop
def test_what_a_call_needs_has_been_said(name: str) -> None:
    """Word by word: "return 41" is made of what a file and a report say. Commands are composed."""
    composed = {"command", "argv"}
    for seed in (1, 2, 3):
        said = ""
        for task in script(name, seed).tasks:
            said += f"{task.text}\n"
            for turn in task.turns:
                for call in turn.calls:
                    enums = words(box(name).definition(call.name)["parameters"])
                    for key, value in call.arguments.items():
                        if key in composed or isinstance(value, list | dict) or key in ("todos", "checklist"):
                            continue
                        for part in value.split() if isinstance(value, str) else [value]:
                            assert_said(part, said, enums, task.text)
                said += "\n".join(turn.results) + "\n"


@every_workshop
def test_the_same_seed_gives_the_same_script(name: str) -> None:
    again = write_script(Random(f"{name} 1"), box(name), TURNS)
    assert again == script(name, 1)
    assert again.start != script(name, 2).start


@every_workshop
def test_replies_are_clean_sentences(name: str) -> None:
    for seed in (1, 2, 3):
        for task in script(name, seed).tasks:
            if task.turns:
                assert sentence_flaw(task.reply, ((task.reply,),)) in (
                    "",
                    "not one full stop for each sentence",
                )
                assert "{" not in task.reply
                assert task.reply.endswith(".")


def test_loops_have_the_length_of_an_agents() -> None:
    """10,000 to 30,000 tokens of the bundled model in 40 tool turns, and results of thousands."""
    tokenizer = Tokenizer.from_file(str(WORDS))
    lengths, longest = [], 0
    for name in NAMES:
        text = "".join(part for part, _ in render_spans(to_conversation(script(name, 1))))
        lengths.append(len(tokenizer.encode(text).ids))
        results = [one for task in script(name, 1).tasks for turn in task.turns for one in turn.results]
        longest = max(longest, *map(len, results))
    assert all(9_000 < length < 30_000 for length in lengths), lengths
    assert sum(lengths) / len(lengths) > 12_000
    assert longest > 2_500


@every_workshop
def test_every_wish_can_be_served_again_and_again(name: str) -> None:
    for wish in box(name).wishes:
        rng = Random(getattr(wish, "__name__", ""))
        state = box(name).open(rng)
        for _ in range(25):
            before = json.dumps(state, sort_keys=True)
            drawn_wish = wish(rng, state)
            assert json.dumps(state, sort_keys=True) == before
            assert play(box(name), state, drawn_wish).turns
        assert len(json.dumps(state)) < 120_000
        assert json.loads(json.dumps(state)) == state


@every_workshop
def test_any_valid_call_is_answered(name: str) -> None:
    rng, toolbox = Random(3), box(name)
    state = toolbox.open(rng)
    answered = 0
    for _ in range(25):
        for one in toolbox.tools:
            schema = one["function"]["parameters"]
            arguments = drawn(rng, schema, sorted(strings(state["files"]))[:40])
            if jsonschema_rs.validator_for(schema).is_valid(arguments):
                assert isinstance(toolbox.serve(state, one["function"]["name"], arguments), str)
                answered += 1
    assert answered


@every_workshop
def test_a_spoiled_call_is_answered(name: str) -> None:
    toolbox, seen = box(name), set[str]()
    start = script(name, 1).start
    for call in calls(name):
        if call.name in seen:
            continue
        seen.add(call.name)
        schema = jsonschema_rs.validator_for(toolbox.definition(call.name)["parameters"])
        for arguments in spoiled(dict(call.arguments)):
            if isinstance(arguments, dict) and schema.is_valid(arguments):
                assert json.dumps(toolbox.serve(copy.deepcopy(start), call.name, arguments))


def test_a_test_fails_until_the_function_returns_what_it_expects() -> None:
    state = open_project(Random(1))
    failing = failures(state)[0]
    assert failing
    line = failing[0]
    path, due, got = line.split(" in ")[1].split(":")[0], line.split()[-3].rstrip(","), line.split()[-1]
    run_command(state, f"sed -i 's|return {got}$|x|' {path}")
    assert failures(state)[0] == failing
    run_command(state, f"sed -i 's|return {got}|return {due}|' {path}")
    assert line not in failures(state)[0]
    assert path in run_command(state, "git status")
    assert "1 files changed" in run_command(state, 'git commit -am "mended"')
    assert run_command(state, "git status") == "nothing to commit"


@pytest.mark.parametrize(
    ("act", "given"),
    [
        ("read", {"path": "README.md"}),
        ("read", {"path": "README.md", "range": [2, 4]}),
        ("list", {"folder": "src"}),
        ("search", {"pattern": "it's", "folder": "src"}),
        ("edit", {"path": "settings.ini", "old": "[main]", "new": "[other]"}),
        ("write", {"path": "docs/new.md", "content": "two\nlines"}),
    ],
)
def test_what_has_no_tool_has_a_command(act: str, given: dict[str, Any]) -> None:
    state = open_project(Random(2))
    answer = run_command(state, as_command(act, given))
    assert not answer.startswith(("bash:", "error:", "sed:", "grep:"))
    if act == "edit":
        assert state["files"]["settings.ini"].startswith("[other]")
    if act == "write":
        assert state["files"]["docs/new.md"] == "two\nlines"


def test_an_unknown_command_is_told() -> None:
    state = open_project(Random(2))
    assert run_command(state, "frobnicate now") == "bash: frobnicate: command not found"
    assert run_command(state, 'cat "open').startswith("bash: ")
    assert run_command(state, "") == "bash: no command"
