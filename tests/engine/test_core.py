"""One core in this process: what each request gets, alone and among others."""

from __future__ import annotations

import time
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.model import LoadedModel
from engine.types import Failed, Finished, FinishReason, TextChunk, ThinkingLimit
from engine.validate import MAX_GRAMMAR
from tests.engine.drive import PRINTABLE, alone, request, run

END = 258  # <|im_end|>

SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"temperature": 1.0, "seed": 1},
    "other_seed": {"temperature": 1.0, "seed": 2},
    "hot": {"temperature": 5.0, "seed": 1},
    "top_k": {"temperature": 1.0, "top_k": 3, "seed": 7},
    "top_p": {"temperature": 1.0, "top_p": 0.5, "seed": 7},
    "min_p": {"temperature": 1.0, "min_p": 0.2, "seed": 7},
    "penalised": {"presence_penalty": 1.5, "frequency_penalty": 0.7, "repetition_penalty": 1.3},
    "biased": {"logit_bias": PRINTABLE, "temperature": 0.7, "seed": -5},
}


def variants(**extra: Any) -> list[Any]:
    prompts = ("a", "hello there", "x" * 40, "quite another prompt, of a few words")
    return [
        request(f"{name}/{n}", prompts[n % 4], **{**settings, **extra})
        for n, (name, settings) in enumerate(SETTINGS.items())
    ]


@pytest.mark.parametrize("stagger", [0, 3])
def test_a_request_gets_the_same_tokens_alone_and_in_a_batch(core: EngineCore, stagger: int) -> None:
    requests = variants(max_tokens=24, ignore_eos=True)
    by_itself = {one.id: alone(core, one).text for one in requests}
    together = run(core, *requests, stagger=stagger)
    assert {id: told.text for id, told in together.items()} == by_itself
    assert core.stats().peak_batch > 4
    assert len(set(by_itself.values())) == len(requests), "every setting must matter"


def test_a_seed_repeats_and_no_seed_does_not(core: EngineCore) -> None:
    def text(**sampling: Any) -> str:
        return alone(core, request(max_tokens=24, temperature=1.5, **sampling)).text

    assert text(seed=3) == text(seed=3) == text(seed=3, top_p=1.0, top_k=0)
    assert len({text() for _ in range(4)}) == 4


def test_greedy_however_it_is_said(core: EngineCore) -> None:
    greedy = alone(core, request(max_tokens=20)).text
    spellings: list[dict[str, Any]] = [
        {"temperature": 1.0, "top_k": 1},
        {"temperature": 1e-9},
        {"temperature": 1.0, "top_p": 1e-12},
        {"temperature": 1.0, "min_p": 1.0},
    ]
    for sampling in spellings:
        assert alone(core, request(max_tokens=20, **sampling)).text == greedy


def test_max_tokens_is_exact_and_chunks_account_for_every_token(core: EngineCore) -> None:
    for limit in (1, 2, 17):
        told = alone(core, request(max_tokens=limit, logit_bias=PRINTABLE))
        assert told.reason is FinishReason.length
        assert told.tokens == limit == sum(chunk.tokens for chunk in told.chunks) == len(told.text)


def test_the_end_tells_where_the_time_went(core: EngineCore) -> None:
    began = time.monotonic()
    told = run(core, *(request(str(n), "p" * 100, max_tokens=5, ignore_eos=True) for n in range(40)))
    took = time.monotonic() - began
    ends = [one.end for one in told.values() if isinstance(one.end, Finished)]
    assert all(end.queue_s >= 0 and end.prefill_s > 0 and end.decode_s > 0 for end in ends)
    assert all(end.queue_s + end.prefill_s + end.decode_s <= took for end in ends)
    assert max(end.queue_s for end in ends) > min(end.queue_s for end in ends), "some had to wait for a place"


@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 64, 300])
def test_prompts_of_any_length_are_served(core: EngineCore, length: int) -> None:
    told = alone(core, request(prompt="p" * length, max_tokens=5))
    assert isinstance(told.end, Finished)
    assert (told.end.prompt_tokens, told.end.completion_tokens) == (length, 5)


def test_the_context_ends_a_request_with_length(core: EngineCore) -> None:
    told = alone(core, request(prompt="p" * 500, max_tokens=1000, ignore_eos=True))
    assert told.reason is FinishReason.length
    assert told.tokens == core.info.context_length - 500


def test_an_end_token_stops_and_is_not_shown(core: EngineCore) -> None:
    told = alone(core, request(logit_bias={END: 100.0}))
    assert (told.text, told.reason, told.tokens) == ("", FinishReason.stop, 1)


def test_the_end_tells_every_token(core: EngineCore) -> None:
    """The end token too: whoever keeps a turn needs what the model saw of itself."""
    told = alone(core, request(max_tokens=12, logit_bias=PRINTABLE))
    assert isinstance(told.end, Finished)
    assert bytes(told.end.completion).decode() == told.text
    ended = alone(core, request(max_tokens=12, logit_bias={END: 100.0}))
    assert isinstance(ended.end, Finished)
    assert ended.end.completion == (END,)


def test_ignore_eos_goes_on_and_still_does_not_show_it(core: EngineCore) -> None:
    told = alone(core, request(logit_bias={END: 100.0}, ignore_eos=True, max_tokens=9))
    assert (told.text, told.reason, told.tokens) == ("", FinishReason.length, 9)


def test_a_bias_decides_and_a_ban_holds(core: EngineCore) -> None:
    assert alone(core, request(logit_bias={ord("Z"): 100.0}, max_tokens=6)).text == "ZZZZZZ"
    banned = {token: -100.0 for token in PRINTABLE if token != ord("q")} | {ord("q"): 50.0}
    assert alone(core, request(logit_bias=banned, max_tokens=4)).text == "qqqq"


def test_penalties_count_what_they_say(core: EngineCore) -> None:
    """Two tokens far above the rest: the penalties decide how often each comes."""
    pair = {ord("A"): 96.0, ord("B"): 90.0}
    assert alone(core, request(logit_bias=pair, max_tokens=6)).text == "AAAAAA"
    frequent = alone(core, request(logit_bias=pair, max_tokens=30, frequency_penalty=2.0)).text
    assert frequent.startswith("AA")
    assert abs(frequent.count("A") - frequent.count("B")) < 12
    assert "B" in frequent
    seen = alone(core, request("r", "AAAA", logit_bias=pair, max_tokens=6, repetition_penalty=10.0)).text
    assert seen[0] == "B", "repetition_penalty looks at the prompt"


@pytest.fixture(scope="module")
def plain(loaded: LoadedModel) -> str:
    core = EngineCore(loaded, EngineConfig(model=loaded.info.path))
    return alone(core, request(max_tokens=48, logit_bias=PRINTABLE, temperature=1.0, seed=4)).text


@pytest.mark.parametrize("steps", [2, 3, 9])
def test_a_request_whose_client_needs_no_more_ends_with_what_it_has(
    core: EngineCore, plain: str, steps: int
) -> None:
    asked = request("r", max_tokens=48, logit_bias=PRINTABLE, temperature=1.0, seed=4)
    assert core.submit(asked) is None
    events = [event for _ in range(steps) for event in core.step()]
    core.stop("r")
    core.stop("r")
    core.stop("unknown")
    assert core.busy, "its end is still to be told"
    events += core.step()
    text = "".join(event.text for event in events if isinstance(event, TextChunk))
    (end,) = [event for event in events if isinstance(event, Finished)]
    assert text
    assert plain.startswith(text)
    assert (end.reason, end.completion_tokens) == (FinishReason.stop, len(text))
    assert (end.prompt_tokens, len(end.completion)) == (len(asked.prompt), len(text))
    assert not core.busy


def test_text_that_ends_inside_a_character_says_so(core: EngineCore) -> None:
    told = alone(core, request(logit_bias={0xE2: 100.0}, max_tokens=1))
    assert told.text == "\ufffd"


def test_logprobs_are_the_models_and_come_with_their_text(loaded: LoadedModel, core: EngineCore) -> None:
    sampling: dict[str, Any] = {"logprobs": 5, "temperature": 1.0, "seed": 3, "max_tokens": 12}
    told = run(core, request("with", logit_bias=PRINTABLE, **sampling), request("other", "something"))["with"]
    assert all(chunk.tokens == len(chunk.logprobs) for chunk in told.chunks)
    reported = [place for chunk in told.chunks for place in chunk.logprobs]
    assert b"".join(place.chosen.raw for place in reported) == told.text.encode()

    bias = np.array([PRINTABLE.get(token, 0.0) for token in range(core.info.vocab_size)])
    tokens = list(b"hello") + [place.chosen.token for place in reported]
    logits = np.array(loaded.network(mx.array([tokens])))[0, 4:-1] + bias
    expected = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    expected -= logits.max(-1, keepdims=True)
    for place, row in zip(reported, expected, strict=True):
        assert abs(place.chosen.logprob - row[place.chosen.token]) < 1e-4
        assert [candidate.token for candidate in place.top] == list(np.argsort(-row)[:5])
        assert all(abs(candidate.logprob - row[candidate.token]) < 1e-4 for candidate in place.top)


@pytest.mark.parametrize("count", [0, 20])
def test_as_many_logprobs_as_were_asked_for(core: EngineCore, count: int) -> None:
    told = alone(core, request(logprobs=count, max_tokens=3, logit_bias={65: 100.0, 66: -100.0}))
    assert [len(place.top) for chunk in told.chunks for place in chunk.logprobs] == [count] * 3
    assert told.chunks[0].logprobs[0].chosen.raw == b"A"
    assert all(place.chosen.logprob > -0.01 for chunk in told.chunks for place in chunk.logprobs)
    assert alone(core, request(max_tokens=3)).chunks[0].logprobs == ()


POISON: list[tuple[str, dict[str, Any], str]] = [
    ("prompt", {"prompt": ()}, "prompt"),
    ("prompt", {"prompt": (5, 261)}, "prompt"),
    ("prompt", {"prompt": (-1,)}, "prompt"),
    ("context", {"prompt": "p" * 512}, ""),
    ("max_tokens", {"max_tokens": 0}, "max_tokens"),
    ("temperature", {"temperature": -1.0}, "temperature"),
    ("nan", {"temperature": float("nan")}, "temperature"),
    ("inf", {"temperature": float("inf")}, "temperature"),
    ("top_p", {"top_p": 0.0}, "top_p"),
    ("top_p", {"top_p": 1.7}, "top_p"),
    ("top_k", {"top_k": 262}, "top_k"),
    ("top_k", {"top_k": -1}, "top_k"),
    ("min_p", {"min_p": 1.1}, "min_p"),
    ("seed", {"seed": 2**64}, "seed"),
    ("bias_id", {"logit_bias": {10**9: 1.0}}, "logit_bias"),
    ("bias_id", {"logit_bias": {-1: 1.0}}, "logit_bias"),
    ("bias_value", {"logit_bias": {1: float("inf")}}, "logit_bias"),
    ("bias_value", {"logit_bias": {1: float("nan")}}, "logit_bias"),
    ("logprobs", {"logprobs": 21}, "logprobs"),
    ("logprobs", {"logprobs": -1}, "logprobs"),
    ("presence", {"presence_penalty": 3.0}, "presence_penalty"),
    ("expected", {"expected_tokens": -1}, "expected_tokens"),
    ("repetition", {"repetition_penalty": 0.0}, "repetition_penalty"),
    ("grammar", {"grammar": ""}, "grammar"),
    ("grammar_size", {"grammar": "x" * (MAX_GRAMMAR + 1)}, "grammar"),
    ("deadline", {"deadline_s": 0.0}, "deadline_s"),
    ("deadline_nan", {"deadline_s": float("nan")}, "deadline_s"),
    ("budget", {"thinking": ThinkingLimit(-1, (65,))}, "thinking"),
    ("close", {"thinking": ThinkingLimit(5, ())}, "thinking"),
    ("close_id", {"thinking": ThinkingLimit(5, (261,))}, "thinking"),
]


@pytest.mark.parametrize(("sampling", "param"), [(s, p) for _, s, p in POISON], ids=[n for n, _, _ in POISON])
def test_poison_is_refused_and_hurts_nobody(core: EngineCore, sampling: dict[str, Any], param: str) -> None:
    told = run(core, request("good", max_tokens=3), request("bad", **sampling))
    end = told["bad"].end
    assert isinstance(end, Failed)
    assert end.code == ("invalid_request" if param else "context_length_exceeded")
    assert end.detail.get("param", "") == param
    assert told["good"].tokens == 3


def test_the_extremes_that_are_allowed_are_served(core: EngineCore) -> None:
    extremes: list[dict[str, Any]] = [
        {"top_k": 261, "temperature": 1.0},
        {"top_k": 260, "temperature": 100.0},
        {"temperature": 1e-5},
        {"min_p": 1.0, "temperature": 1.0},
        {"top_p": 1e-300, "min_p": 1.0, "top_k": 2, "temperature": 1.0},
        {"logit_bias": dict.fromkeys(range(261), -100.0)},
        {"logit_bias": dict.fromkeys(range(261), 100.0), "temperature": 2.0},
        {"repetition_penalty": 10.0, "presence_penalty": -2.0, "frequency_penalty": -2.0},
        {"seed": 2**64 - 1, "temperature": 1.0},
        {"seed": -(2**63), "temperature": 1.0},
        {"max_tokens": 2**40, "prompt": "p" * 505, "ignore_eos": True},
    ]
    told = run(core, *(request(str(n), **{"max_tokens": 4, **extreme}) for n, extreme in enumerate(extremes)))
    assert all(one.tokens > 0 for one in told.values())


def test_memory_is_given_back(core: EngineCore) -> None:
    """After the same load again and again the arrays alive are no more than after its second time: what the
    first leaves is there for good.

    What a step left to be collected comes and goes, so the least of several rounds is compared.
    """
    held = []
    for _ in range(8):
        run(
            core,
            *(request(str(n), "p" * (50 * n + 1), max_tokens=8, seed=n, temperature=1.0) for n in range(6)),
        )
        held.append(core.stats().memory_bytes)
    assert min(held) > 4 * core.info.parameters
    assert min(held[4:]) < 1.02 * min(held[1:4])


def test_a_used_id_is_refused_and_the_first_goes_on(core: EngineCore) -> None:
    core.submit(request("same", max_tokens=4))
    refused = core.submit(request("same"))
    assert refused is not None
    assert refused.detail["param"] == "id"
    ends = [event for _ in range(8) if core.busy for event in core.step() if isinstance(event, Finished)]
    assert [end.completion_tokens for end in ends] == [4]


@pytest.mark.parametrize("steps", range(7))
def test_an_abort_at_every_stage_leaves_nothing_and_disturbs_nobody(core: EngineCore, steps: int) -> None:
    expected = alone(core, request("stays", "s" * 90, max_tokens=12)).text
    told = {"stays": "", "goes": ""}
    core.submit(request("stays", "s" * 90, max_tokens=12))
    core.submit(request("goes", "g" * 200, max_tokens=100))
    for _ in range(steps):
        core.step()
    core.abort("goes")
    core.abort("goes")
    core.abort("stays")
    core.submit(request("stays", "s" * 90, max_tokens=12))
    while core.busy:
        for event in core.step():
            assert event.id == "stays"
            told["stays"] += getattr(event, "text", "")
    assert told["stays"] == expected
    stats = core.stats()
    assert (stats.running, stats.waiting, stats.cache_bytes) == (0, 0, 0)
