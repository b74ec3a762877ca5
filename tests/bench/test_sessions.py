"""The parts of the sessions' benchmark that decide what its figures mean."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench.kinds import model_path
from tests.bench.operations import attention_layers, attention_seconds, product_seconds
from tests.bench.sessions import Turn, beyond, opening, reply_and_result, words
from tests.bench.wire import Answer, take_event


def test_what_was_known_and_computed_again() -> None:
    """Of the second prompt all but its last answer's end was reused; of the third 30 tokens were lost."""
    done = [Turn(0.1, 0.2, 100, 0, 20), Turn(0.1, 0.2, 200, 119, 10), Turn(0.1, 0.2, 300, 180, 10)]
    assert beyond(done) == 30
    assert beyond(done[:2]) == 1


def test_an_answer_goes_back_as_a_client_sends_it() -> None:
    answer = Answer(0.0)
    call = {"id": "c1", "type": "function", "function": {"name": "read_file", "arguments": "{}"}}
    take_event({"choices": [{"delta": {"content": "Let me see."}}]}, answer)
    take_event({"choices": [{"delta": {"tool_calls": [{"index": 0, **call}]}}]}, answer)
    usage = {"completion_tokens": 9, "prompt_tokens": 50, "prompt_tokens_details": {"cached_tokens": 40}}
    take_event({"choices": [], "usage": usage}, answer)
    assert (answer.tokens, answer.prompt_tokens, answer.cached_tokens, len(answer.times)) == (9, 50, 40, 2)
    reply, result = reply_and_result(answer, 3)
    assert reply == {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}
    assert (result["role"], result["tool_call_id"]) == ("tool", "c1")
    words_only = reply_and_result(Answer(0.0, text="Done."), 3)
    assert [one["role"] for one in words_only] == ["assistant", "user"]


def test_texts_differ_from_their_first_word_on() -> None:
    assert len({words(seed, 40)[:3] for seed in range(20)}) == 20
    assert all(len(words(seed, size)) == size for seed in (0, 7) for size in (1, 120, 9000))
    assert len(opening(1, 500)[0]["content"]) == 500


def test_attention_is_of_the_layers_that_have_it(tmp_path: Path) -> None:
    full, window, hybrid = (
        attention_layers(model_path(kind, tmp_path)) for kind in ("10M", "window", "hybrid")
    )
    given = {
        kind: json.loads((tmp_path / kind / "config.json").read_text())
        for kind in ("10M", "window", "hybrid")
    }
    assert len(full) == given["10M"]["num_hidden_layers"]
    assert {one.heads for one in full} == {given["10M"]["num_attention_heads"]}
    assert {one.tokens(20_000) for one in full} == {20_000}
    assert {one.tokens(20_000) for one in window} == {20_000, given["window"]["sliding_window"]}
    assert len(hybrid) == len(given["hybrid"]["full_attn_idxs"])


def test_attention_takes_longer_over_more_tokens(tmp_path: Path) -> None:
    layers = attention_layers(model_path("10M", tmp_path))
    for seconds in (attention_seconds, product_seconds):
        assert seconds(layers, 8, 20_000) > seconds(layers, 8, 100) > 0
