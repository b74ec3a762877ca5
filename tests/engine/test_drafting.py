"""Tokens that are computed ahead: no tokens, log probabilities or caches differ from those without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.config import EngineConfig
from engine.constraints import Grammars, allowed_tokens, leaves_space_out
from engine.core import EngineCore
from engine.drafting import MOST_DRAFTED, DraftedNetwork
from engine.lane import Lane, Live
from engine.model import LoadedModel, load_model
from engine.resolve import BUNDLED, MODELS
from engine.runner import Runner
from engine.types import Finished, FinishReason, GenerateRequest
from tests.engine.drive import PRINTABLE, Told, alone, collect, request, run

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


@pytest.fixture(scope="module")
def bundled() -> LoadedModel:
    return load_model(EngineConfig(model=str(MODELS / BUNDLED[0])), "none")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stagger", [0, 3, 40])
def test_answers_are_the_same_with_and_without(loaded: LoadedModel, seed: int, stagger: int) -> None:
    """Together from the start, joining while others decode, and mostly one after the other."""
    ahead, plain = pair(loaded, cache_ram=0)  # what is there depends on who has ended
    asked = wishes(seed)
    found, expected = run(ahead, *asked, stagger=stagger), run(plain, *asked, stagger=stagger)
    for one in asked:
        same(found[one.id], expected[one.id])
    assert ahead.stats().tokens_generated == plain.stats().tokens_generated
    if stagger == 40:
        assert ahead.stats().steps < 0.8 * plain.stats().steps, "nothing was tested"


def test_what_the_cache_keeps_is_the_same(loaded: LoadedModel) -> None:
    """The next turn finds as much of the one before, and goes on as if nothing had been in the cache."""
    ahead, plain = pair(loaded)
    fresh = EngineCore(loaded, EngineConfig(model=loaded.info.path, cache_ram=0), drafts=False)
    for seed in range(3):
        first = request(f"first{seed}", "go " * 9, grammar=call_grammar(seed), max_tokens=150)
        ends = [alone(core, first).end for core in (ahead, plain)]
        said = ends[0].completion if isinstance(ends[0], Finished) else ()
        turn = request(f"second{seed}", (*first.prompt, *said, *b" and"), max_tokens=12, logprobs=2)
        found, expected, bare = (alone(core, turn) for core in (ahead, plain, fresh))
        same(found, expected)
        assert found.text == bare.text
        assert isinstance(found.end, Finished)
        assert found.end.cached_tokens >= len(first.prompt) + len(said) - 1


@pytest.mark.parametrize("after", [1, 2, 5, 11])
def test_a_request_that_is_aborted_leaves_what_it_has_computed(loaded: LoadedModel, after: int) -> None:
    """Also in the middle of what was computed ahead: the tokens and the caches that are kept fit."""
    ahead, _ = pair(loaded)
    fresh = EngineCore(loaded, EngineConfig(model=loaded.info.path, cache_ram=0), drafts=False)
    asked = request("r", "start now", grammar=call_grammar(7), max_tokens=150)
    whole = alone(fresh, asked).end
    assert isinstance(whole, Finished)
    told = {"r": Told()}
    ahead.submit(asked)
    while ahead.stats().tokens_generated < after:
        collect(told, ahead.step())
    known = ahead.stats().tokens_generated
    ahead.abort("r")
    assert (ahead.stats().running, ahead.stats().cache_bytes) == (0, 0)
    turn = request("s", (*asked.prompt, *whole.completion[:known], *b"!?"), max_tokens=10)
    found, expected = alone(ahead, turn), alone(fresh, turn)
    assert found.text == expected.text
    assert isinstance(found.end, Finished)
    assert found.end.cached_tokens >= len(asked.prompt) + known - 1


def test_one_that_leaves_does_not_change_those_that_stay(loaded: LoadedModel) -> None:
    ahead, plain = pair(loaded, cache_ram=0)
    asked = [request(f"r{n}", "x" * (5 + n), grammar=call_grammar(n), max_tokens=150) for n in range(4)]
    expected = {one.id: alone(plain, one) for one in asked}
    for leaves in (3, 9):
        told = {one.id: Told() for one in asked}
        for one in asked:
            ahead.submit(one)
        for step in count():
            if step == leaves:
                ahead.abort("r1")
            if not ahead.busy:
                break
            collect(told, ahead.step())
        for id in ("r0", "r2", "r3"):
            same(told[id], expected[id])


class Liar:
    """A drafter that knows the answer and tells it wrongly now and then, or tells too much or nothing."""

    def __init__(self, answer: Sequence[int], rng: Random) -> None:
        self._answer = answer
        self._rng = rng
        self.place = 0

    def draft(self, drawn: int | None, most: int) -> Sequence[int]:
        assert most == MOST_DRAFTED
        truth = list(self._answer[self.place : self.place + self._rng.randrange(0, 2 * MOST_DRAFTED)])
        if truth and self._rng.random() < 0.5:
            truth[self._rng.randrange(len(truth))] = self._rng.randrange(256)
        return truth


@pytest.mark.parametrize("seed", range(6))
def test_a_drafter_that_is_wrong_changes_nothing(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Free texts, greedy and sampled, alone and together, with whatever a drafter says."""
    rng = Random(seed)
    asked = [
        request(f"r{n}", "abc" * (4 + n), max_tokens=40, ignore_eos=True, **rng.choice(SAMPLINGS[:5]))
        for n in range(rng.choice([1, 1, 2, 3]))
    ]
    ahead, plain = pair(loaded, cache_ram=0)
    expected = {one.id: alone(plain, one) for one in asked}
    begin = Runner._begin

    def with_liar(self: Runner, job: Any) -> Live:
        live = begin(self, job)
        end = expected[job.id].end
        assert isinstance(end, Finished)
        live.drafter = Liar(end.completion, rng)
        return live

    def told_the_place(self: Lane, shared: bool) -> Any:
        for live in self.members.values():
            assert isinstance(live.drafter, Liar)
            # one more is picked than has been reported, once it decodes
            live.drafter.place = live.made + (live in self.decoding)
        return step(self, shared)

    step = Lane.next
    monkeypatch.setattr(Runner, "_begin", with_liar)
    monkeypatch.setattr(Lane, "next", told_the_place)
    for one in asked:
        same(alone(ahead, one), expected[one.id])
    told = run(ahead, *asked)
    for one in asked:
        same(told[one.id], expected[one.id])
    alone_ = sum(one.tokens for one in expected.values())
    assert ahead.stats().steps < 1.8 * alone_, "nothing was computed ahead"


def test_a_long_stretch_is_computed_in_few_passes(loaded: LoadedModel) -> None:
    core, plain = pair(loaded, cache_ram=0)
    text = "only this may be said here, and it is long enough for several passes of the network. " * 2
    asked = request("r", "q", grammar=f"start: {json.dumps(text)}", max_tokens=300)
    told = alone(core, asked)
    same(told, alone(plain, asked))
    assert (told.text, told.reason) == (text, FinishReason.stop)
    assert core.stats().steps <= len(text) / MOST_DRAFTED + 4


def test_a_limit_in_the_middle_of_a_stretch_ends_there(loaded: LoadedModel) -> None:
    ahead, plain = pair(loaded)
    for most in (1, 2, 3, 20, 33, 34, 35):
        asked = request(f"r{most}", "q", grammar=f'start: "{"word " * 20}"', max_tokens=most)
        told = alone(ahead, asked)
        same(told, alone(plain, asked))
        assert (told.tokens, told.reason) == (most, FinishReason.length)


def test_caches_hold_what_a_prompt_of_the_same_tokens_would_leave(loaded: LoadedModel) -> None:
    """To the last digits that chunks of different lengths agree in."""
    core, _ = pair(loaded)
    core.submit(request("r", "q" * 20, grammar=call_grammar(3), max_tokens=60, ignore_eos=True))
    checked = 0
    while core.busy and checked < 5:
        core.step()
        live = core._sequences["r"].live if "r" in core._sequences else None
        computed = core._runner.extract(live) if live is not None and live.made else None
        if computed is None:
            continue
        checked += 1
        caches = loaded.make_caches()
        loaded.network(mx.array([computed.tokens]), cache=caches)
        for mine, theirs in zip(computed.caches, caches, strict=True):
            for got, want in zip(mine.state[:2], theirs.state[:2], strict=True):
                assert np.allclose(got[..., : mine.offset, :], want[..., : mine.offset, :], atol=1e-4)
                assert mine.offset == len(computed.tokens)
    assert checked


def test_looking_ahead_leaves_a_grammar_where_it_was(bundled: LoadedModel) -> None:
    """And what must come is what the mask allows alone. Over random texts that a grammar allows."""
    rng = Random(1)
    vocab = bundled.info.vocab_size
    grammars = Grammars(bundled.tokenizer, vocab, bundled.info.eos_token_ids)
    looked = forced = 0
    for seed in range(12):
        matcher, untouched = (grammars.compile(call_grammar(seed)).result() for _ in range(2))
        for _ in range(60):
            expected = grammars.known_tokens(matcher, MOST_DRAFTED, spaced=rng.random() < 0.8)
            allowed = allowed_tokens(matcher, vocab)
            assert (allowed == allowed_tokens(untouched, vocab)).all()
            assert matcher.is_accepting() == untouched.is_accepting()
            must = untouched.compute_ff_tokens()
            if must:
                assert np.flatnonzero(allowed).tolist() == must[:1] == expected[:1]
            looked, forced = looked + bool(expected), forced + bool(must)
            if matcher.is_stopped():
                assert expected == [grammars.usual_end]
                break
            choices = [one for one in np.flatnonzero(allowed).tolist() if one not in grammars.ends]
            token = rng.choice(expected[:1] * bool(allowed[expected[0]]) + choices if expected else choices)
            for one in (matcher, untouched):
                assert one.consume_token(token)
        assert not matcher.is_error()
    assert looked > forced > 100


@pytest.mark.parametrize(
    ("expected", "got", "left_out"),
    [
        (b'": "', b'":"', True),
        (b" ", b'"', True),
        (b'": "', b'":', False),
        (b'": ', b'": "', False),
        (b"a", b"b", False),
        (b'":"', b'": "', False),
        (b"", b"x", False),
    ],
)
def test_a_space_that_is_left_out_is_noticed(expected: bytes, got: bytes, left_out: bool) -> None:
    assert leaves_space_out(expected, got) is left_out


def test_prompts_and_unannounced_rows_pass_through() -> None:
    seen: list[tuple[int, ...]] = []

    def network(inputs: mx.array, cache: Any = None) -> mx.array:
        seen.append(tuple(inputs.shape))
        return mx.zeros((*inputs.shape, 3))

    drafted = DraftedNetwork(network)
    assert drafted(mx.array([[1, 2, 3]]), cache=[]).shape == (1, 3, 3)
    assert drafted(mx.array([[1], [2]]), cache=[]).shape == (2, 1, 3)
    assert seen == [(1, 3), (2, 1)]
    assert not drafted.knows(())


@pytest.mark.parametrize("sampling", SAMPLINGS[:4], ids=range(4))
def test_a_vocabulary_of_merges_is_no_different(bundled: LoadedModel, sampling: dict[str, Any]) -> None:
    """Tokens that the grammar leaves open, and guesses that are right or wrong."""
    ahead, plain = pair(bundled, cache_ram=0)
    for seed in range(3):
        wished = {"max_tokens": 80, "grammar": call_grammar(seed), **sampling}
        asked = request(f"r{seed}", tuple(range(100, 140)), **wished)
        same(alone(ahead, asked), alone(plain, asked))
    assert ahead.stats().steps < 0.8 * plain.stats().steps
