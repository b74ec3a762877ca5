"""A long prompt is kept in parts while others decode, and keeping it copies no buffer of the batch."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from engine.cache.manager import PART
from engine.core import EngineCore
from engine.model import LoadedModel
from tests.engine.cache.test_engine import Engines, end_of
from tests.engine.drive import alone, request, run

LONG = "".join(chr(97 + n * n % 23) for n in range(PART + 150))


def buffers(core: EngineCore, id: str) -> list[tuple[int, list[int]]]:
    """(address, shape) of the keys of each layer of this request's batch."""
    live = core._sequences[id].live
    assert live is not None
    generator = live.lane.generator
    found = []
    for batch in (generator._prompt_batch, generator._generation_batch):
        for layer in batch.prompt_cache if live.uid in batch.uids else ():
            mx.eval(layer.keys)
            found.append((np.asarray(layer.keys).ctypes.data, list(layer.keys.shape)))
    return found


def known(core: EngineCore) -> int:
    return max((segment.end for segment in core.reuse.cache.radix.segments.values()), default=0)


def test_beside_one_who_decodes_the_first_part_is_there_before_the_last_is_computed(core: EngineCore) -> None:
    core.submit(request("other", "hello", max_tokens=300, ignore_eos=True))
    for _ in range(5):
        core.step()
    core.submit(request("long", LONG, max_tokens=2, ignore_eos=True))
    seen: list[int] = []
    while "long" in core._sequences:
        core.step()
        seen.append(known(core))
    assert any(PART <= end < len(LONG) - 1 for end in seen), seen
    assert known(core) >= len(LONG) - 1
    core.abort("other")
    told = run(core, request("again", LONG, max_tokens=8, ignore_eos=True))
    assert end_of(told["again"]).cached_tokens == len(LONG) - 1


def test_alone_it_is_kept_as_a_whole(core: EngineCore) -> None:
    core.submit(request("long", LONG, max_tokens=2, ignore_eos=True))
    seen: set[int] = set()
    while "long" in core._sequences:
        core.step()
        seen.add(known(core))
    assert not any(0 < end < len(LONG) - 1 for end in seen), seen


def test_what_is_kept_in_parts_answers_as_fresh(core: EngineCore, loaded: LoadedModel) -> None:
    bare = alone(Engines(loaded, "plain").make(cache_ram=0), request("x", LONG, ignore_eos=True))
    told = {"long": run(core, request("other", "hi", max_tokens=60), request("long", LONG, ignore_eos=True))}
    assert told["long"]["long"].text == bare.text
    assert run(core, request("again", LONG, ignore_eos=True))["again"].text == bare.text


@pytest.mark.skipif(mx.default_device().type != mx.DeviceType.cpu, reason="addresses are those of the host")
@pytest.mark.parametrize("beside", [False, True])
def test_keeping_a_prompt_moves_no_buffer(
    core: EngineCore, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lazy slices of a buffer make MLX copy it when the next token is written into it. A large model's would
    not all be computed between two steps.
    """
    monkeypatch.setattr(core.reuse.cache, "_settle_bytes", 1)
    if beside:
        core.submit(request("other", "hello", max_tokens=300, ignore_eos=True))
        for _ in range(5):
            core.step()
    core.submit(request("long", LONG, max_tokens=20, ignore_eos=True))
    before: list[tuple[int, list[int]]] = []
    moved = steps = 0
    while "long" in core._sequences:
        core.step()
        if "long" not in core._sequences:
            break
        after = buffers(core, "long")
        pairs = zip(before, after, strict=False)
        moved += sum(a != b for (a, shape), (b, other) in pairs if shape == other)
        before, steps = after, steps + 1
    assert steps > 10
    assert moved == 0
