"""Tokens that are computed ahead: no tokens, log probabilities or caches differ from those without."""

from __future__ import annotations

import json
from itertools import count

import mlx.core as mx
import numpy as np
import pytest

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.drafting import MOST_DRAFTED
from engine.model import LoadedModel
from engine.repetition import RepetitionRule, TokenRepetition
from engine.types import Finished, FinishReason
from tests.engine.calls import call_grammar, long_stretch, pair, same, wishes
from tests.engine.drive import Told, alone, collect, request, run


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


@pytest.mark.parametrize("how", ["abort", "stop"])
def test_one_that_leaves_in_the_middle_of_a_stretch(loaded: LoadedModel, how: str) -> None:
    """A prompt beside it lets one token go with each step. What is kept ends at the last token picked."""
    config = EngineConfig(model=loaded.info.path, prefill_step=16, prefill_step_min=16)
    ahead = EngineCore(loaded, config)
    fresh = EngineCore(loaded, EngineConfig(model=loaded.info.path, cache_ram=0), drafts=False)
    checked = 0
    for steps in (3, 4, 9):
        asked = request("r", f"start {steps} now", grammar=long_stretch(), max_tokens=150)
        text = alone(fresh, asked).end
        assert isinstance(text, Finished)
        ahead.submit(asked)
        while ahead.stats().tokens_generated == checked:
            ahead.step()
        ahead.submit(request("beside", f"{steps}" * 250, max_tokens=1))
        before = ahead.stats().tokens_generated
        for _ in range(steps):
            ahead.step()
        (lane,) = ahead._runner._lanes
        assert lane.prompts, "the other prompt is still being prefilled"
        assert ahead.stats().tokens_generated - before == steps
        assert lane.network.knows(lane.decoding), "nothing is computed ahead"
        known = ahead.stats().tokens_generated - checked
        getattr(ahead, how)("r")
        while ahead.busy:
            ahead.step()
        turn = request("s", (*asked.prompt, *text.completion[:known], *b"!?"), max_tokens=10)
        found, expected = alone(ahead, turn), alone(fresh, turn)
        assert found.text == expected.text
        assert isinstance(found.end, Finished)
        assert found.end.cached_tokens >= len(asked.prompt) + known - 1
        checked = ahead.stats().tokens_generated


def test_a_repetition_in_a_stretch_ends_the_text_where_it_would(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = RepetitionRule(longest=16, least=64, times=4, every=16)
    monkeypatch.setattr("engine.sequence.repetition_of", lambda sampling: TokenRepetition(rule))
    asked = request("r", "q", grammar=long_stretch(80), max_tokens=400)
    ahead, plain = pair(loaded)
    told = alone(ahead, asked)
    same(told, alone(plain, asked))
    assert told.reason is FinishReason.repetition
    assert 64 <= told.tokens < 100
    assert ahead.stats().steps < 10
