"""What must come in a grammar: it is found, and looking for it changes nothing."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from llguidance import LLParserLimits

from engine.config import EngineConfig
from engine.constraints import Grammars, allowed_tokens
from engine.drafting import MOST_DRAFTED
from engine.known_tokens import leaves_space_out
from engine.model import LoadedModel, load_model
from engine.resolve import BUNDLED, MODELS
from tests.engine.calls import END, SAMPLINGS, call_grammar, long_stretch, pair, same
from tests.engine.drive import alone, request


@pytest.fixture(scope="module")
def bundled() -> LoadedModel:
    return load_model(EngineConfig(model=str(MODELS / BUNDLED[0])), "none")


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


def test_looking_ahead_never_costs_a_request_its_grammar(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the grammar is too large for it, or the time for it is used up."""
    grammar = 'start: "head head" e{20} "z"\ne: e e | e e e | e e e e | "x"'
    monkeypatch.setattr("engine.constraints.limits", lambda: LLParserLimits(step_max_items=60))
    grammars = Grammars(loaded.tokenizer, 261, (END,))
    matcher = grammars.compile(grammar).result()
    looking = matcher.deep_copy()
    assert looking.try_consume_tokens(looking.compute_ff_tokens()) == 0
    assert looking.is_error(), "nothing was tested"
    assert grammars.known_tokens(matcher, 32, True)[:9] == list(b"head head")
    assert not matcher.is_error()

    monkeypatch.setattr("engine.constraints.LOOKING_S", 0.0)
    monkeypatch.setattr("engine.constraints.LOOKING_PER_TOKEN_S", 0.0)
    ahead, plain = pair(loaded)
    asked = request("r", "q", grammar=long_stretch(), max_tokens=150)
    same(alone(ahead, asked), alone(plain, asked))
    assert ahead.stats().steps == plain.stats().steps
    assert ahead.stats().constraint_failures == 0


@pytest.mark.parametrize("sampling", SAMPLINGS[:4], ids=range(4))
def test_a_vocabulary_of_merges_is_no_different(bundled: LoadedModel, sampling: dict[str, Any]) -> None:
    """Tokens that the grammar leaves open, and guesses that are right or wrong."""
    ahead, plain = pair(bundled, cache_ram=0)
    for seed in range(3):
        wished = {"max_tokens": 80, "grammar": call_grammar(seed), **sampling}
        asked = request(f"r{seed}", tuple(range(100, 140)), **wished)
        same(alone(ahead, asked), alone(plain, asked))
    assert ahead.stats().steps < 0.8 * plain.stats().steps
