"""Requests for calls under grammars, random ones too, and engines that compute known tokens ahead or not."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.model import LoadedModel
from engine.types import Finished, GenerateRequest
from tests.engine.drive import PRINTABLE, Told, request

END = 258  # <|im_end|>
SAMPLINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.8, "seed": 3, "logprobs": 2},
    {"temperature": 3.0, "seed": 4, "top_p": 0.9, "logprobs": 0},
    {"temperature": 1.0, "seed": 5, "top_k": 4, "frequency_penalty": 1.0, "presence_penalty": -1.0},
    {"temperature": 1.0, "seed": 6, "logit_bias": PRINTABLE, "repetition_penalty": 1.3, "logprobs": 3},
    {"frequency_penalty": 0.5, "logprobs": 1, "max_tokens": 37},
]


def value_schema(rng: Random, depth: int = 0) -> dict[str, Any]:
    """The schema of some value, which is short."""
    kinds = ["text", "choice", "const", "number", "flag", "list", *(["object"] if depth < 2 else [])]
    kind = rng.choice(kinds)
    if kind == "text":
        return {"type": "string", "maxLength": rng.randrange(1, 9)}
    if kind == "choice":
        return {"enum": ["".join(rng.choices("abcde ", k=rng.randrange(1, 12))) for _ in range(3)]}
    if kind == "const":
        return {"const": rng.choice(["a longer text, é and 東 in it", 12345, [1, 2, {"x": None}], True])}
    if kind == "number":
        return {"type": "integer", "minimum": 0, "maximum": rng.randrange(1, 2000)}
    if kind == "list":
        return {"type": "array", "items": {"enum": [1, 2, 30]}, "maxItems": rng.randrange(1, 4)}
    return {"type": "boolean"} if kind == "flag" else object_schema(rng, depth + 1)


def object_schema(rng: Random, depth: int = 0) -> dict[str, Any]:
    names = ["".join(rng.choices("kmnpqrs_", k=rng.randrange(1, 14))) for _ in range(rng.randrange(1, 4))]
    return {
        "type": "object",
        "properties": {name: value_schema(rng, depth) for name in names},
        "required": [name for name in dict.fromkeys(names) if rng.random() < 0.8],
        "additionalProperties": False,
    }


def call_grammar(seed: int) -> str:
    """Calls of one to three tools, as a model writes them."""
    rng = Random(seed)
    tools = [
        f'"\\n{{\\"name\\": \\"{name}\\", \\"arguments\\": " a{n} "}}\\n"'
        for n, name in enumerate(rng.sample(["get_weather", "get_time", "send", "a"], rng.randrange(1, 4)))
    ]
    spaces = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    schemas = [
        f"a{n}: %json {json.dumps({**object_schema(rng), 'x-guidance': spaces})}" for n in range(len(tools))
    ]
    return "\n".join(
        [f"start: <tool_call> ({' | '.join(tools)}) </tool_call> {'' if seed % 2 else 'tail'}", *schemas]
        + ([] if seed % 2 else ["tail: /[ab]{0,3}/"])
    )


def wishes(seed: int, count: int = 5) -> list[GenerateRequest]:
    """Requests under grammars, and others; of a few lengths, so that some leave early."""
    rng = Random(seed)
    made = []
    for n in range(count):
        own: dict[str, Any] = {"max_tokens": rng.choice([60, 100]), **rng.choice(SAMPLINGS)}
        own["ignore_eos"] = rng.random() < 0.1
        if rng.random() < 0.8:
            own["grammar"] = call_grammar(rng.randrange(1000))
        made.append(request(f"{seed}/{n}", "please " * rng.randrange(1, 6), **own))
    return made


def same(one: Told, other: Told) -> None:
    """The same answer: tokens, text, end, what it says of the cache, and log probabilities."""
    assert isinstance(one.end, Finished)
    assert isinstance(other.end, Finished)
    assert (one.text, one.end.completion) == (other.text, other.end.completion)
    assert (one.reason, one.end.unconstrained) == (other.reason, other.end.unconstrained)
    assert one.end.cached_tokens == other.end.cached_tokens
    places = [[place for chunk in told.chunks for place in chunk.logprobs] for told in (one, other)]
    assert len(places[0]) == len(places[1])
    for mine, theirs in zip(*places, strict=True):
        assert mine.chosen.token == theirs.chosen.token
        assert mine.chosen.logprob == pytest.approx(theirs.chosen.logprob, abs=1e-3)
        assert [c.logprob for c in mine.top] == pytest.approx([c.logprob for c in theirs.top], abs=1e-3)


def pair(loaded: LoadedModel, **settings: Any) -> tuple[EngineCore, EngineCore]:
    """An engine that computes ahead, and one that does not."""
    config = EngineConfig(model=loaded.info.path, **settings)
    return EngineCore(loaded, config), EngineCore(loaded, config, drafts=False)


def long_stretch(times: int = 20) -> str:
    """A grammar that allows one text: a word, again and again."""
    return f'start: "{"word " * times}"'
