"""The parts of the sessions' benchmark that decide what its figures mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.kinds import model_path
from tests.bench.operations import attention_operations, growth
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


def test_attention_is_counted_by_what_each_layer_holds(tmp_path: Path) -> None:
    full, window, hybrid = (model_path(kind, tmp_path) for kind in ("10M", "window", "hybrid"))
    each = attention_operations(full, 1, 1000) / 1000
    config = json.loads((full / "config.json").read_text())
    width = config["num_attention_heads"] * config["head_dim"]
    assert each == 4 * width * config["num_hidden_layers"]
    assert attention_operations(full, 10, 2000) == 20_000 * each
    grown = [attention_operations(window, 1, size) for size in (1000, 2000, 3000)]
    assert 0 < grown[2] - grown[1] == grown[1] - grown[0] < grown[0] / 2, "the layers without a window grow"
    given = json.loads((hybrid / "config.json").read_text())
    width = given["hidden_size"]  # of all heads together
    assert attention_operations(hybrid, 1, 1000) == 4 * width * 1000 * len(given["full_attn_idxs"])


def test_a_turn_grows_by_its_attention_alone(tmp_path: Path) -> None:
    path = model_path("10M", tmp_path)
    more = attention_operations(path, 165, 3000) - attention_operations(path, 165, 1000)
    assert growth(path, 165, (1000, 0.1), 3000, more / 0.1) == pytest.approx(2.0)
