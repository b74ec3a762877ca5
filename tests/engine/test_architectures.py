"""Models whose caches are not plain: a sliding window, and state-space layers beside attention."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import mlx.core as mx
import msgspec
import pytest
from mlx_lm.models import gemma3_text, lfm2

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.model import LoadedModel, try_out
from engine.shapes import takes_rows
from engine.types import FinishReason, Priority, TextChunk
from tests.engine.drive import alone, request, run

WINDOW = 64
SHAPE = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 261}


def sliding_window() -> Any:
    """Two layers with a window of 64 tokens, and one that sees everything."""
    own = {"num_hidden_layers": 3, "sliding_window": WINDOW, "sliding_window_pattern": 3}
    sizes = {"intermediate_size": 128, "head_dim": 16}
    return gemma3_text.Model(gemma3_text.ModelArgs(model_type="gemma3_text", **SHAPE, **own, **sizes))


def hybrid() -> Any:
    """Convolutions with a state that cannot be cut, and attention."""
    block = {"block_dim": 64, "block_ff_dim": 128, "block_multiple_of": 32, "block_ffn_dim_multiplier": 1.0}
    own = {"num_hidden_layers": 4, "full_attn_idxs": [1, 3], "conv_bias": False, "conv_L_cache": 3}
    rest = {"max_position_embeddings": 512, "norm_eps": 1e-5, "block_auto_adjust_ff_dim": False}
    return lfm2.Model(lfm2.ModelArgs(model_type="lfm2", **SHAPE, **own, **block, **rest))


@pytest.fixture(
    params=[(make, separate) for make in (sliding_window, hybrid) for separate in (None, 0)],
    ids=lambda param: param[0].__name__ + ("" if param[1] is None else ", buffers of their own"),
)
def core(request: pytest.FixtureRequest, loaded: LoadedModel) -> EngineCore:
    mx.random.seed(0)
    make, separate = request.param
    network = make()
    network.eval()
    mx.eval(network.parameters())
    config = EngineConfig(model=loaded.info.path, prefill_step=32, prefill_step_min=32, cache_ram=0)
    tuning = replace(loaded.tuning, separate=separate)
    assert separate is None or takes_rows(network, tuning)
    return EngineCore(replace(loaded, network=network, tuning=tuning), config)


def requests() -> list[Any]:
    lengths = (1, 70, 300, 33, WINDOW)
    return [
        request(
            f"r{n}", "abcdefgh"[n] * length, max_tokens=8, temperature=0.9 * (n % 2), seed=n, ignore_eos=True
        )
        for n, length in enumerate(lengths)
    ]


@pytest.mark.parametrize("stagger", [0, 4])
def test_alone_and_in_a_batch_are_the_same(core: EngineCore, stagger: int) -> None:
    expected = {one.id: alone(core, one).text for one in requests()}
    assert {id: told.text for id, told in run(core, *requests(), stagger=stagger).items()} == expected
    assert core.stats().peak_batch >= 2


def test_a_paused_prompt_goes_on_and_gets_the_same_text(core: EngineCore) -> None:
    long = msgspec.structs.replace(requests()[2], priority=Priority.background)  # whatever the clock says
    expected = alone(core, long).text
    core.submit(request("talk", "t", max_tokens=30, ignore_eos=True))
    core.submit(long)
    for _ in range(3):
        core.step()
    core.submit(request("short", "s" * 10, max_tokens=2))
    shown: dict[str, str] = {}
    while core.busy:
        for event in core.step():
            if isinstance(event, TextChunk):
                shown[event.id] = shown.get(event.id, "") + event.text
    assert list(shown).index("short") < list(shown).index(long.id), "it was paused"
    assert shown[long.id] == expected


def test_known_tokens_are_decoded_where_caches_cannot_be_cut(core: EngineCore) -> None:
    grammar = f'start: "{"word " * 9}" /[ab]{{3}}/ " and words"'
    asked = [request(f"r{n}", "go" * (20 + n), grammar=grammar, max_tokens=80) for n in range(2)]
    told = run(core, *asked)
    for one in asked:
        assert re.fullmatch("(word ){9}[ab]{3} and words", told[one.id].text)
        assert told[one.id].reason is FinishReason.stop
    assert core.stats().steps >= 59, "a pass for each token"


def test_what_a_token_costs_is_what_its_layers_keep() -> None:
    """Keys and values of 2 heads of 16 in 4-byte floats: 256 bytes per token and attention layer."""
    _, windowed = try_out(sliding_window())
    assert (windowed.per_token, windowed.fixed) == (256, 2 * WINDOW * 256)
    _, mixed = try_out(hybrid())
    assert mixed.per_token == 2 * 256
    assert 0 < mixed.fixed < 10_000
