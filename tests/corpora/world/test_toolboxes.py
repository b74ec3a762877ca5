"""Every toolbox: its calls fit its schemas, its texts say what the calls need, its state stays small."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

import jsonschema_rs
import pytest

from corpora.world import TOOLBOXES
from corpora.world.base import Call, Toolbox, content_id
from corpora.world.script import Script, play, to_conversation, write_script

SEEDS = range(20)
TURNS = 40
#: the keys of a state that only hold what the call before was about
MEMORY = {"last", "recent", "previous"}
pytestmark = pytest.mark.parametrize("toolbox", TOOLBOXES, ids=lambda toolbox: toolbox.name)


def write(toolbox: Toolbox, seed: int) -> Script:
    return write_script(Random(f"{toolbox.name} {seed}"), toolbox, TURNS)


@cache
def script_of(name: str, seed: int) -> Script:
    return write(next(one for one in TOOLBOXES if one.name == name), seed)


def scripts(toolbox: Toolbox) -> Iterator[Script]:
    return (script_of(toolbox.name, seed) for seed in SEEDS)


def calls(toolbox: Toolbox) -> Iterator[Call]:
    for script in scripts(toolbox):
        for task in script.tasks:
            for turn in task.turns:
                yield from turn.calls


def parameters(toolbox: Toolbox) -> dict[str, Any]:
    return {one["function"]["name"]: one["function"]["parameters"] for one in toolbox.tools}


def leaves(value: Any) -> Iterator[Any]:
    """The strings, numbers and booleans inside a JSON value."""
    if isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    else:
        yield value


def words(schema: Any) -> set[str]:
    """The enum members of a schema."""
    if isinstance(schema, dict):
        own = {str(one) for one in schema.get("enum", ())}
        return own.union(*(words(one) for one in schema.values()))
    return set[str]().union(*(words(one) for one in schema)) if isinstance(schema, list) else set()


def assert_ordered(value: Any, schema: Any, where: str) -> None:
    if isinstance(value, dict):
        keys = list(schema.get("properties", {}))
        known = [key for key in value if key in keys]
        assert known == [key for key in keys if key in value], where
        for key in known:
            assert_ordered(value[key], schema["properties"][key], where)
    if isinstance(value, list):
        for one in value:
            assert_ordered(one, schema.get("items", {}), where)


def test_the_tools_are_few_and_short(toolbox: Toolbox) -> None:
    assert 4 <= len(toolbox.tools) <= 8
    assert len(json.dumps(toolbox.tools)) <= 2800
    assert toolbox.purpose
    assert toolbox.name.isidentifier()


def test_every_call_fits_its_schema_in_its_order(toolbox: Toolbox) -> None:
    schemas = parameters(toolbox)
    validators = {name: jsonschema_rs.validator_for(schema) for name, schema in schemas.items()}
    for call in calls(toolbox):
        validators[call.name].validate(dict(call.arguments))
        assert_ordered(dict(call.arguments), schemas[call.name], call.name)


def test_what_a_call_needs_has_been_said(toolbox: Toolbox) -> None:
    """The model copies: a string stands in the text, in an earlier result or in the schema; so do numbers."""
    enums = {name: words(schema) for name, schema in parameters(toolbox).items()}
    for script in scripts(toolbox):
        said = ""
        for task in script.tasks:
            said += f"{task.text}\n"
            for turn in task.turns:
                for call in turn.calls:
                    for value in leaves(dict(call.arguments)):
                        assert_said(value, said, enums[call.name], task.text)
                said += "\n".join(turn.results) + "\n"


def assert_said(value: Any, said: str, enums: set[str], text: str) -> None:
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, str):
        escaped = json.dumps(value, ensure_ascii=False)[1:-1]
        assert len(value) <= 2 or value in enums or value in said or escaped in said, (value, text)
    else:
        assert re.search(rf"(?<![\d.]){re.escape(str(value))}(?!\d|\.\d)", said), (value, text)


def test_an_enum_value_is_named_in_the_text(toolbox: Toolbox) -> None:
    enums = {name: words(schema) for name, schema in parameters(toolbox).items()}
    for script in scripts(toolbox):
        for task in script.tasks:
            seen = " ".join([task.text, *(result for turn in task.turns for result in turn.results)]).lower()
            for turn in task.turns:
                for call in turn.calls:
                    for value in leaves(dict(call.arguments)):
                        if isinstance(value, str) and value in enums[call.name]:
                            assert value.lower() in seen, (value, task.text)


def test_the_same_seed_gives_the_same_script(toolbox: Toolbox) -> None:
    for seed in (0, 7):
        assert write(toolbox, seed) == script_of(toolbox.name, seed)
    starts = {json.dumps(one.start, sort_keys=True) for one in scripts(toolbox)}
    assert len(starts) == len(SEEDS)


def test_scripts_hold_every_tool_parallel_turns_and_chains(toolbox: Toolbox) -> None:
    used = Counter(call.name for call in calls(toolbox))
    assert set(used) == set(parameters(toolbox))
    tasks = [task for script in scripts(toolbox) for task in script.tasks if task.turns]
    turns = [turn for task in tasks for turn in task.turns]
    assert sum(len(turn.calls) > 1 for turn in turns) >= len(turns) // 50
    assert max(len(turn.calls) for turn in turns) <= 4
    assert sum(len(task.turns) > 1 for task in tasks) >= len(tasks) // 20


def test_a_few_tasks_end_in_an_error(toolbox: Toolbox) -> None:
    tasks = [task for script in scripts(toolbox) for task in script.tasks if task.turns]
    failed = [task for task in tasks if any('"error"' in result for result in task.turns[-1].results)]
    assert len(tasks) // 100 <= len(failed) <= len(tasks) // 5
    closing = [task.reply for task in tasks]
    assert all(0 < len(reply) < 200 and "{" not in reply for reply in closing)


def test_texts_are_varied(toolbox: Toolbox) -> None:
    texts = [task.text for script in scripts(toolbox) for task in script.tasks if task.turns]
    openings = {" ".join(text.split()[:2]).lower() for text in texts}
    assert len(set(texts)) > 0.95 * len(texts)
    assert len(openings) > len(texts) // 8


def test_any_wish_can_be_served_three_hundred_times(toolbox: Toolbox) -> None:
    """Whatever came before, a wish is servable, and drawing it leaves the state alone."""
    rng = Random(toolbox.name)
    state = toolbox.open(rng)
    sizes = list[int]()
    for _ in range(300):
        wish = rng.choice(list(toolbox.wishes))
        before = json.dumps(state, sort_keys=True)
        task = play_drawn(toolbox, state, wish(rng, state), before)
        assert task.turns, (wish.__name__, task.text)
        sizes.append(len(json.dumps(state)))
        assert json.loads(json.dumps(state)) == state
    assert max(sizes) < 20_000


def play_drawn(toolbox: Toolbox, state: Any, wish: Any, before: str) -> Any:
    assert json.dumps(state, sort_keys=True) == before, wish.text
    return play(toolbox, state, wish)


def test_each_wish_alone_can_be_served_again_and_again(toolbox: Toolbox) -> None:
    """A wish that uses up its objects, or adds to them without end, must not run dry."""
    for wish in toolbox.wishes:
        rng = Random(wish.__name__)
        state = toolbox.open(rng)
        for _ in range(80):
            assert play(toolbox, state, wish(rng, state)).turns
        assert len(json.dumps(state)) < 20_000, wish.__name__


def test_any_valid_call_is_answered(toolbox: Toolbox) -> None:
    """Of things there are and are not; an error changes nothing but what is remembered of last."""
    rng = Random(3)
    state = toolbox.open(rng)
    errors = 0
    for _ in range(60):
        for name, schema in parameters(toolbox).items():
            arguments = drawn(rng, schema, sorted(strings(state)))
            jsonschema_rs.validator_for(schema).validate(arguments)
            before = {key: json.dumps(value) for key, value in state.items()}
            result = toolbox.run(state, name, arguments)
            assert json.loads(json.dumps(result)) == result
            if isinstance(result, dict) and "error" in result:
                errors += 1
                now = {key: json.dumps(value) for key, value in state.items()}
                changed = {key for key in now if now[key] != before.get(key)}
                assert changed <= MEMORY, (name, arguments)
    assert errors


def strings(value: Any) -> set[str]:
    """The keys and strings of a state, where names and ids are."""
    if isinstance(value, dict):
        return set(value).union(*(strings(one) for one in value.values()))
    if isinstance(value, list):
        return set[str]().union(*(strings(one) for one in value))
    return {value} if isinstance(value, str) else set()


def drawn(rng: Random, schema: Any, known: list[str]) -> Any:
    """A random value of a schema, of the kinds that toolboxes use; about half of the strings are known."""
    if "enum" in schema:
        return rng.choice(schema["enum"])
    kind = rng.choice(schema["type"]) if isinstance(schema["type"], list) else schema["type"]
    match kind:
        case "object":
            return drawn_object(rng, schema, known)
        case "array":
            least = schema.get("minItems", 0)
            return [drawn(rng, schema["items"], known) for _ in range(rng.randint(least, least + 2))]
        case "boolean":
            return rng.random() < 0.5
        case "integer" | "number":
            return rng.randint(int(schema.get("minimum", 0)), int(schema.get("maximum", 50)))
        case _:
            fit = [one for one in known if "\n" not in one and re.search(schema.get("pattern", ""), one)]
            if fit and rng.random() < 0.5:
                return rng.choice(fit)
            return (
                matching(rng, schema["pattern"]) if "pattern" in schema else content_id("any", rng.random())
            )


def drawn_object(rng: Random, schema: Any, known: list[str]) -> Any:
    needed = schema.get("required", ())
    properties = dict(schema.get("properties", {}))
    if isinstance(more := schema.get("additionalProperties"), dict):
        properties |= {rng.choice([*known, "any"]): more for _ in range(2)}
    return {
        key: drawn(rng, one, known) for key, one in properties.items() if key in needed or rng.random() < 0.5
    }


def matching(rng: Random, pattern: str) -> str:
    """A string of a pattern that is made of literals, classes and counts."""
    piece = re.compile(r"(\[[^\]]+\]|\\d|\\.|[^\\{}^$])(?:\{(\d+)(?:,\d*)?\}|(\+))?")
    text = ""
    for sign, count, _ in piece.findall(pattern):
        fit = [one for one in map(chr, range(33, 127)) if re.fullmatch(sign, one)]
        text += "".join(rng.choice(fit) for _ in range(int(count or 1)))
    assert re.search(pattern, text), pattern
    return text


def test_new_ids_never_collide(toolbox: Toolbox) -> None:
    """No two creations of a script answer with the same new id."""
    for script in scripts(toolbox):
        start = json.dumps(script.start)
        born = Counter[str]()
        for task in script.tasks:
            for turn in task.turns:
                for call, result in zip(turn.calls, turn.results, strict=True):
                    new = re.findall(r"\b[a-z]+-[2-9A-HJ-NP-Z]{5}\b", result)
                    asked = json.dumps(dict(call.arguments))
                    if result.startswith("{") and '"error"' not in result:
                        born.update({one: 1 for one in new if one not in start and one not in asked})
        assert all(count == 1 for count in born.values()), born.most_common(2)


def test_a_script_is_a_conversation(toolbox: Toolbox) -> None:
    conversation = to_conversation(script_of(toolbox.name, 1))
    roles = [message["role"] for message in conversation.messages]
    assert roles.count("tool") >= TURNS
    assert roles[-1] == "assistant"
    ids = [call["id"] for one in conversation.messages for call in one.get("tool_calls", ())]
    answered = [one["tool_call_id"] for one in conversation.messages if one["role"] == "tool"]
    assert ids == answered
    assert len(set(ids)) == len(ids)
