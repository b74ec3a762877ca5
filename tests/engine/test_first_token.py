"""A first token is given out by the step that computes it, before the network runs again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import pytest

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.model import LoadedModel
from engine.sampling import BatchSampler, SampledRow
from engine.types import Finished, FinishReason, SamplingParams, TextChunk
from tests.engine.calls import call_grammar, same
from tests.engine.drive import PRINTABLE, Told, alone, collect, request, run

END = 258  # <|im_end|>


class Counted:
    """A network that counts its passes over a single token, and runs no more than `most` of them."""

    def __init__(self, network: Any, most: int = 10**9) -> None:
        self._network = network
        self.layers = network.layers
        self.passes, self.most = 0, most

    def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
        if inputs.shape[1] == 1:
            if self.passes >= self.most:
                raise RuntimeError("the network does not answer")
            self.passes += 1
        logits: mx.array = self._network(inputs, cache=cache)
        return logits


def counting(loaded: LoadedModel, most: int = 10**9) -> tuple[EngineCore, Counted]:
    network = Counted(loaded.network, most)
    config = EngineConfig(model=loaded.info.path, cache_ram=0)
    return EngineCore(replace(loaded, network=network), config), network


SAMPLINGS: dict[str, dict[str, Any]] = {
    "text": {},
    "seeded": {"temperature": 1.5, "seed": 9},
    "logprobs": {"logprobs": 3},
    "penalties": {"repetition_penalty": 1.3, "frequency_penalty": 0.5},
    "grammar": {"grammar": 'start: "<" /[a-z]+/ ">"', "logprobs": 2},
    "known tokens": {"grammar": call_grammar(1)},
    "one token": {"max_tokens": 1},
}


@pytest.mark.parametrize("name", SAMPLINGS)
def test_a_first_token_leaves_before_the_second_is_computed(loaded: LoadedModel, name: str) -> None:
    core, network = counting(loaded)
    bias = {} if "grammar" in SAMPLINGS[name] else {"logit_bias": PRINTABLE}
    core.submit(request("r", "some prompt", **bias, **SAMPLINGS[name]))
    told = Told()
    while not told.chunks:
        collect({"r": told}, core.step())
    (chunk,) = told.chunks
    assert (chunk.tokens, len(chunk.logprobs)) == (1, 1 if "logprobs" in SAMPLINGS[name] else 0)
    assert network.passes <= 1, "the pass that computes the last token of the prompt"
    while core.busy:
        collect({"r": told}, core.step())
    whole = alone(counting(loaded)[0], request("r", "some prompt", **bias, **SAMPLINGS[name]))
    same(told, whole)


def test_a_newcomers_first_token_leaves_while_others_decode(loaded: LoadedModel) -> None:
    core, network = counting(loaded)
    core.submit(request("old", "p" * 9, max_tokens=60, logit_bias=PRINTABLE))
    events: list[Any] = []
    for _ in range(6):
        events += core.step()
    core.submit(request("new", "another", max_tokens=9, logit_bias=PRINTABLE, logprobs=1))
    while not any(event.id == "new" for event in events):
        before = network.passes
        events += core.step()
    assert network.passes - before == 2, "one of those that decode, one of the newcomer's last prompt token"
    told = {"old": Told(), "new": Told()}
    collect(told, events)
    while core.busy:
        collect(told, core.step())
    by_itself = alone(core, request("n", "another", max_tokens=9, logit_bias=PRINTABLE, logprobs=1))
    assert told["new"].text == by_itself.text
    places = [place for chunk in told["new"].chunks for place in chunk.logprobs]
    assert b"".join(place.chosen.raw for place in places).decode() == by_itself.text


def test_a_prompt_that_waits_is_begun_in_the_step_behind_a_first_token(loaded: LoadedModel) -> None:
    core, _ = counting(loaded)
    core.submit(request("first", "p" * 9, max_tokens=60, logit_bias=PRINTABLE))
    events = core.step()
    core.submit(request("second", "q" * 200, max_tokens=3, announce=True))
    while not any(isinstance(event, TextChunk) for event in events):
        events = core.step()
    assert [event.id for event in core.step()] == ["second"], "it has its place"


def test_a_pass_that_fails_finds_the_first_token_gone(loaded: LoadedModel) -> None:
    core, _ = counting(loaded, most=1)
    core.submit(request("r", "some prompt", logit_bias=PRINTABLE))
    texts = [event for _ in range(2) for event in core.step() if isinstance(event, TextChunk)]
    assert [one.tokens for one in texts] == [1]
    with pytest.raises(RuntimeError, match="does not answer"):
        core.step()


def test_a_request_may_end_with_its_first_token(core: EngineCore) -> None:
    """At an end token, at its limit, or because its client needs no more."""
    told = run(core, request("end", logit_bias={END: 100.0}), request("other", "x" * 30, max_tokens=5))
    assert (told["end"].reason, told["end"].tokens, told["end"].chunks) == (FinishReason.stop, 1, [])
    limit = alone(core, request(max_tokens=1, logit_bias={0xE2: 100.0}))
    assert (limit.reason, limit.tokens, limit.text) == (FinishReason.length, 1, "\ufffd")
    core.submit(request("r", "again", logit_bias=PRINTABLE))
    events: list[Any] = []
    while not events:
        events = core.step()
    core.stop("r")
    (end,) = core.step()
    assert isinstance(end, Finished)
    assert (end.reason, end.completion_tokens) == (FinishReason.stop, 1)
    assert bytes(end.completion).decode() == events[0].text


def test_tokens_are_counted_once(core: EngineCore) -> None:
    run(core, *(request(str(n), "p" * (5 + n), max_tokens=7, ignore_eos=True) for n in range(5)), stagger=2)
    assert core.stats().tokens_generated == 5 * 7


def test_log_probabilities_of_a_first_token_are_kept_where_they_are_asked_for() -> None:
    logprobs = mx.log(mx.array([[0.1, 0.9], [0.6, 0.4]]))
    asked, other = (SampledRow.start(SamplingParams(max_tokens=2, logprobs=asks)) for asks in (1, None))
    sampler = BatchSampler()
    assert sampler.draw((asked, other), logprobs).tolist() == [1, 0]
    assert other.first_logprobs is None
    assert asked.first_logprobs is not None
    assert asked.first_logprobs.tolist() == logprobs[0].tolist()
    asked.first_logprobs = None
    sampler.draw((asked, other), logprobs)
    assert asked.first_logprobs is None
