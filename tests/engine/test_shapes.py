"""With a GPU's tuning attention sees few shapes, and nobody can tell from the tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import BatchKVCache

from engine.batch_cache import JoinedCache
from engine.config import EngineConfig
from engine.core import EngineCore
from engine.model import LoadedModel, load_model
from engine.shapes import takes_padding
from engine.tuning import CPU, CUDA, Buckets, DeviceTuning
from tests.engine.cache.test_layers import network
from tests.engine.calls import call_grammar, same, wishes
from tests.engine.drive import alone, request, run
from tests.engine.tiny import make_model

TURNS = 40
NEW = (165, 158, 171, 180, 149, 166)  # tokens by which the turns of an agent's loop grow, answers included
ANSWER = 4
SYSTEM = tuple(32 + (n * n + n // 7) % 90 for n in range(1400))
KINDS = ["plain", "window", "hybrid"]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The tiny model with room for a long conversation."""
    path = make_model(tmp_path_factory.mktemp("models") / "long", context=9000)
    return load_model(EngineConfig(model=str(path)), "none")


def make(loaded: LoadedModel, kind: str, tuning: DeviceTuning, **config: Any) -> EngineCore:
    model = replace(loaded, network=network(kind, loaded), tuning=tuning)
    return EngineCore(model, EngineConfig(model=loaded.info.path, **config))


def strides(array: mx.array) -> Any:
    return memoryview(array).strides  # type: ignore[arg-type]


class Recorder:
    """In the place of MLX's attention: notes what cuDNN's plans are kept by, the shapes and strides of every
    call, and computes nothing, which would take most of the time.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: set[Any] = set()
        monkeypatch.setattr(mx.fast, "scaled_dot_product_attention", self)

    def __call__(self, q: mx.array, k: mx.array, v: mx.array, *, mask: Any = None, **others: Any) -> mx.array:
        arrays = [q, k, v, *([mask] if isinstance(mask, mx.array) else [])]
        kind = mask.dtype if isinstance(mask, mx.array) else mask
        self.seen.add((str(kind), *((array.shape, strides(array)) for array in arrays)))
        return mx.zeros_like(q)


def loop(core: EngineCore, turns: int = TURNS, prompt: tuple[int, ...] = SYSTEM) -> Iterator[str]:
    """The answers of an agent's loop, whose turns differ in length; prompts go on from the last answer."""
    for turn in range(turns):
        sampling = {"max_tokens": ANSWER, "ignore_eos": True, "temperature": 0.9, "seed": turn}
        told = alone(core, request(f"t{turn}", prompt, session="s", **sampling))
        yield told.text
        completion = told.end.completion  # type: ignore[union-attr]
        added = NEW[turn % len(NEW)] + turn % 5 - ANSWER
        prompt = (*prompt, *completion, *(32 + (turn * 31 + n * 7) % 90 for n in range(added)))


@pytest.mark.parametrize(("kind", "per_size"), [("plain", 2), ("window", 6), ("hybrid", 6)])
def test_a_loop_brings_few_shapes(
    kind: str, per_size: int, long: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They grow with the number of sizes that the cache takes on, which is a logarithm of the length."""
    core = make(long, kind, CUDA)
    recorder = Recorder(monkeypatch)
    new: list[int] = []
    for _ in loop(core):
        new.append(len(recorder.seen) - sum(new))
    core.close()
    assert max(new[1:]) <= 6, new
    sizes = {CUDA.cached(length) for length in range(len(SYSTEM), len(SYSTEM) + TURNS * max(NEW))}
    assert len(sizes) < TURNS / 1.5
    assert sum(new[1:]) <= per_size * len(sizes), new


def test_without_rounding_each_turn_brings_many(long: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above would notice."""
    core = make(long, "plain", replace(CUDA, chunks=None, caches=None))
    recorder = Recorder(monkeypatch)
    new: list[int] = []
    for _ in loop(core, 4):
        new.append(len(recorder.seen) - sum(new))
    core.close()
    assert min(new) >= ANSWER


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_gets_the_same_tokens(kind: str, long: LoadedModel) -> None:
    cores = [make(long, kind, tuning) for tuning in (CPU, CUDA)]
    found = [list(loop(core, 6, SYSTEM[:500])) for core in cores]
    reused = [core.stats().cache.reused_tokens for core in cores]
    for core in cores:
        core.close()
    assert found[0] == found[1]
    assert len(set(found[0])) > 3
    assert reused[0] == reused[1] > 5 * 500


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_on_disk_in_8_bits_gets_the_same_tokens(
    kind: str, long: LoadedModel, tmp_path: Path
) -> None:
    found: list[list[str]] = []
    for tuning in (CPU, CUDA):
        settings = {"cache_dir": str(tmp_path / str(tuning.least_chunk)), "kv_at_rest": "q8"}
        for turns in (2, 3):  # the second process goes on from what the first one wrote
            core = make(long, kind, tuning, **settings)
            found.append(list(loop(core, turns, SYSTEM[:500])))
            core.wind_up()
            core.close(30.0)
            assert turns == 2 or core.stats().cache.from_disk
    assert found[0] == found[2]
    assert found[1] == found[3]


def many() -> list[Any]:
    lengths = (1, 2, 17, 70, 300, 33, 64, 64, 61, 60, 59)
    return [
        request(
            f"r{n}",
            chr(97 + n) * length,
            max_tokens=4 + 3 * n,
            temperature=0.9 * (n % 2),
            seed=n,
            ignore_eos=True,
            logprobs=2 if n % 3 == 0 else None,
        )
        for n, length in enumerate(lengths)
    ]


@pytest.mark.parametrize("step", [32, None])
@pytest.mark.parametrize("stagger", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gets_the_same_tokens(kind: str, stagger: int, step: int | None, loaded: LoadedModel) -> None:
    """Rows of different lengths come, are prefilled together, leave, and the others go on."""
    settings = {} if step is None else {"prefill_step": step, "prefill_step_min": 16}
    one, other = (make(loaded, kind, tuning, cache_ram=0, **settings) for tuning in (CPU, CUDA))
    expected, found = (run(core, *many(), stagger=stagger) for core in (one, other))
    for id, told in found.items():
        same(told, expected[id])
    assert other.stats().peak_batch > 4


@pytest.mark.parametrize("stagger", [0, 40])
def test_known_tokens_are_computed_ahead_in_few_sizes(
    stagger: int, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, core = make(loaded, "plain", CPU, cache_ram=0), make(loaded, "plain", CUDA, cache_ram=0)
    asked = wishes(1)
    expected, found = run(plain, *asked, stagger=stagger), run(core, *asked, stagger=stagger)
    for one in asked:
        same(found[one.id], expected[one.id])
    recorder = Recorder(monkeypatch)
    for seed in range(9):
        text = "please " * (seed + 1)
        alone(core, request(f"r{seed}", text, grammar=call_grammar(seed), max_tokens=120))
    queries = {key[1][0][2] for key in recorder.seen}
    assert queries <= {1, 64}, "of 2 to 33 tokens"
    assert core.stats().steps < core.stats().tokens_generated


def test_a_prompt_up_to_the_end_of_the_context(loaded: LoadedModel) -> None:
    """No position beyond it is computed, even in vain."""
    context = loaded.info.context_length
    prompt = tuple(32 + n % 90 for n in range(context - 3))
    one, other = (make(loaded, "plain", tuning, cache_ram=0) for tuning in (CPU, CUDA))
    seen: list[int] = []
    network_of = JoinedCache.update_and_fetch

    def note(self: JoinedCache, keys: mx.array, values: mx.array) -> Any:
        found = network_of(self, keys, values)
        seen.append(self.end)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JoinedCache, "update_and_fetch", note)
        found = alone(other, request("r", prompt, max_tokens=3, ignore_eos=True))
    assert found.text == alone(one, request("r", prompt, max_tokens=3, ignore_eos=True)).text
    assert max(seen) <= context


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_tried_before_its_keys_are_padded(
    kind: str, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(kind, loaded)
    assert takes_padding(model, CUDA)
    monkeypatch.setattr(JoinedCache, "make_mask", BatchKVCache.make_mask)
    assert not takes_padding(model, CUDA), "masks that are as long as the tokens"
    monkeypatch.setattr(JoinedCache, "make_mask", lambda *_, **__: None)
    assert not takes_padding(model, CUDA), "no masks"


@pytest.mark.parametrize("buckets", [Buckets(1, 2), Buckets(256, 8)], ids=str)
def test_sizes(buckets: Buckets) -> None:
    sizes = sorted({buckets.up(tokens) for tokens in range(1, 5000)})
    assert len(sizes) < 45
    for tokens in range(1, 5000):
        up = buckets.up(tokens)
        assert tokens <= up <= max(buckets.least, tokens * (1 + 1 / buckets.steps))
        assert up == min(size for size in sizes if size >= tokens)
        assert tokens < buckets.least or buckets.down(tokens) == max(size for size in sizes if size <= tokens)


def test_pieces() -> None:
    chunks = Buckets(1, 2)
    for tokens in range(1, 5000):
        pieces = list(chunks.split(tokens))
        assert sum(pieces) == tokens
        assert all(chunks.up(piece) == piece for piece in pieces)
        assert tokens == 1 or 1 not in pieces
        assert len(pieces) <= 7


def test_prompts_are_prefilled_together_in_few_numbers() -> None:
    assert [CUDA.cohort(n) for n in range(1, 9)] == [1, 2, 2, 4, 4, 4, 4, 8]
    assert [CPU.cohort(n) for n in range(1, 9)] == list(range(1, 9))
