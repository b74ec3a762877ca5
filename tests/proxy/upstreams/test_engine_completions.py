"""Prompts without a chat template over the real engine: what they become, and what of them is reused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from engine.config import EngineConfig
from proxy.upstreams.engine import EngineUpstream
from tests.engine.tiny import make_model
from tests.proxy.codecs.completions import complete
from tests.proxy.live import LiveServer, LoopThread, serving
from tests.proxy.requests import user

LONG = "The quick brown fox jumps over the lazy dog. " * 6


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, thread: LoopThread) -> Iterator[LiveServer]:
    model = make_model(tmp_path_factory.mktemp("models") / "tiny", context=1024)
    upstream = thread.run(EngineUpstream.start(EngineConfig(model=str(model), max_batch=4), "scripted"), 120)
    with serving(upstream, thread=thread) as server:
        yield server
    thread.run(upstream.close())


def ask(server: LiveServer, **fields: Any) -> dict[str, Any]:
    response = complete(server, **{"ignore_eos": True, "temperature": 0, **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_text_and_its_tokens_are_the_same_prompt(server: LiveServer) -> None:
    tokens = complete(server, "/tokenize", prompt="once upon").json()["tokens"]
    by_text, by_tokens = ask(server, prompt="once upon"), ask(server, prompt=tokens)
    assert by_text["choices"] == by_tokens["choices"]
    assert by_text["usage"]["prompt_tokens"] == len(tokens) == len("once upon")
    assert by_text["usage"]["completion_tokens"] == 16, "where the request sets no limit"
    assert by_text["choices"][0]["finish_reason"] == "length"
    assert complete(server, "/detokenize", tokens=tokens).json()["prompt"] == "once upon"


def test_a_written_conversation_is_the_chats_own_prompt(server: LiveServer) -> None:
    """A client that renders the template itself gets the same tokens and reuses what the chat computed."""
    messages = [user(LONG)]
    tokens = complete(server, "/tokenize", prompt=None, messages=messages).json()["tokens"]
    chat = server.post({"messages": messages, "max_tokens": 16, "ignore_eos": True, "temperature": 0}).json()
    written = complete(server, "/detokenize", tokens=tokens).json()["prompt"]
    assert written.startswith("<|im_start|>user\nThe quick")
    answer = ask(server, prompt=written)
    assert answer["choices"][0]["text"] == chat["choices"][0]["message"]["content"]
    assert answer["usage"]["prompt_tokens"] == chat["usage"]["prompt_tokens"] == len(tokens)
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == len(tokens) - 1


def test_the_prefix_cache_serves_it(server: LiveServer) -> None:
    first = ask(server, prompt=LONG[::-1])
    longer = LONG[::-1] + first["choices"][0]["text"] + " and more"
    second = complete(server, prompt=longer, ignore_eos=True)
    usage = second.json()["usage"]
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["prompt_tokens_details"]["cached_tokens"] >= len(LONG)
    report = dict(part.split("=") for part in second.headers["x-fortieth-cache"].split("; "))
    assert int(report["reused"]) == usage["prompt_tokens_details"]["cached_tokens"]
    assert int(report["total"]) == usage["prompt_tokens"]


def test_streamed_is_not_streamed(server: LiveServer) -> None:
    client = server.client()
    fields: dict[str, Any] = {"model": "scripted", "prompt": "once", "max_tokens": 24, "seed": 5}
    whole = client.completions.create(**fields, temperature=0.9)
    pieces = [chunk.choices[0] for chunk in client.completions.create(**fields, temperature=0.9, stream=True)]
    assert "".join(piece.text for piece in pieces) == whole.choices[0].text
    assert str(pieces[-1].finish_reason) == whole.choices[0].finish_reason


def test_log_probabilities_tell_the_text(server: LiveServer) -> None:
    choice = ask(server, prompt="once", logprobs=2, max_tokens=24)["choices"][0]
    scored = choice["logprobs"]
    assert {len(values) for values in scored.values()} == {24}
    raw = b"".join(
        bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))
        if token.startswith("bytes:")
        else token.encode()
        for token in scored["tokens"]
    )
    assert raw.decode("utf-8", "replace") == choice["text"]
    for token, logprob, top in zip(
        scored["tokens"], scored["token_logprobs"], scored["top_logprobs"], strict=True
    ):
        assert top[token] == logprob == max(top.values()), "greedy decoding takes the likeliest"
        assert len(top) == 2
    assert scored["text_offset"] == sorted(scored["text_offset"])


def test_seeded_answers_are_those_of_the_seeds_that_follow(server: LiveServer) -> None:
    fields = {"seed": 7, "temperature": 1.0, "max_tokens": 12}
    together = ask(server, prompt=["a", "b"], n=2, **fields)
    alone = [
        ask(server, prompt=prompt, **{**fields, "seed": seed})["choices"][0]["text"]
        for prompt in ("a", "b")
        for seed in (7, 8)
    ]
    assert [choice["text"] for choice in together["choices"]] == alone
    assert len(set(alone)) == 4
    assert together["usage"]["prompt_tokens"] == 2
    assert together["usage"]["completion_tokens"] == 4 * 12


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "suffix": ({"suffix": "):"}, "suffix", "no tokens for filling in"),
    "nothing": ({"prompt": ""}, "prompt", "at least one token"),
    "no_tokens": ({"prompt": [[]]}, "prompt", "at least one token"),
    "unknown_token": ({"prompt": [5, 999]}, "prompt", "[0, 261), got 999"),
    "too_long": ({"prompt": "x" * 2000}, "prompt", "prompt is too long: 2000 tokens > 1023 maximum"),
    "one_of_several": ({"prompt": ["fine", "x" * 2000]}, "prompt", "prompt is too long"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_the_model_cannot_do_is_told(server: LiveServer, name: str, stream: bool) -> None:
    fields, param, words = REFUSED[name]
    response = complete(server, stream=stream, **fields)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert words in error["message"]
    assert ask(server, prompt="still there?")["usage"]["completion_tokens"] == 16


def test_unknown_tokens_have_no_text(server: LiveServer) -> None:
    response = complete(server, "/detokenize", tokens=[5, 999])
    assert (response.status_code, response.json()["error"]["param"]) == (400, "tokens")


def test_its_session_is_listed_like_others(server: LiveServer) -> None:
    complete(server, prompt=LONG, prompt_cache_key="editor")
    listed = httpx.get(f"{server.base_url}/fortieth/sessions").json()
    assert "editor" in str(listed)


def test_a_model_that_can_fill_in_is_shown_the_suffix(
    tmp_path_factory: pytest.TempPathFactory, thread: LoopThread
) -> None:
    """The markers of calls, renamed: a vocabulary with the two tokens by which Codestral is asked."""
    model = make_model(tmp_path_factory.mktemp("models") / "infill", context=1024)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        renamed = (model / file).read_text().replace("</tool_call>", "[SUFFIX]")
        (model / file).write_text(renamed.replace("<tool_call>", "[PREFIX]"))
    upstream = thread.run(EngineUpstream.start(EngineConfig(model=str(model)), "scripted"), 120)
    try:
        with serving(upstream, thread=thread) as server:
            filled = ask(server, prompt="def f(", suffix="):")
            written = ask(server, prompt="[SUFFIX]):[PREFIX]def f(")
            streamed = complete(server, prompt="def f(", suffix="):", stream=True).status_code
    finally:
        thread.run(upstream.close())
    assert filled["choices"] == written["choices"]
    assert filled["usage"]["prompt_tokens"] == len("def f():") + 2
    assert streamed == 200
