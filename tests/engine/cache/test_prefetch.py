"""What a session will need comes back from disk at its first sign of life, before its request."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.core import EngineCore
from engine.model import LoadedModel
from engine.types import GenerateRequest
from tests.engine.cache.test_engine import SYSTEM, Engines, end_of, next_prompt
from tests.engine.drive import alone, request

BYTES = 512  # of one token of the tiny model


def fetched(core: EngineCore) -> int:
    """Bytes in RAM, once nothing more comes from disk."""
    archive = core.reuse.cache.archive
    assert archive is not None
    before = -1
    while before != core.stats().cache.ram_bytes:
        before = core.stats().cache.ram_bytes
        archive.lend(b"not there").result(20)  # what was asked for earlier has been read by then
        core.rest()
    return before


def turns(core: EngineCore, session: str, count: int = 3) -> GenerateRequest:
    """A loop; the request that goes on from it."""
    prompt = tuple((session + SYSTEM).encode())
    for turn in range(count):
        asked = request(f"{session}{turn}", prompt, max_tokens=8, ignore_eos=True, session=session)
        prompt = next_prompt(asked, alone(core, asked), f" result {turn};")
    return request("next", prompt, max_tokens=2, session=session)


@pytest.fixture(params=["plain", "hybrid"])
def engines(request: pytest.FixtureRequest, loaded: LoadedModel) -> Engines:
    return Engines(loaded, request.param)


def test_after_a_restart_a_session_is_there_before_its_request(engines: Engines, tmp_path: Path) -> None:
    first = engines.make(cache_dir=str(tmp_path))
    following = turns(first, "s")
    turns(first, "other", 1)
    first.close()
    second = engines.make(cache_dir=str(tmp_path))
    second.reuse.sessions.prefetch("nobody")
    assert fetched(second) == 0
    second.reuse.sessions.prefetch("s")
    assert fetched(second) > 0
    second.submit(following)
    assert not second.reuse.waits(second._sequences["next"].prefix)
    second.abort("next")
    end = end_of(alone(second, following))
    assert end.cache.tier == "disk"
    assert end.prompt_tokens - end.cached_tokens == len(" result 2;")
    second.close()


def test_what_was_pushed_out_of_ram_comes_back(loaded: LoadedModel, tmp_path: Path) -> None:
    core = Engines(loaded, "plain").make(cache_ram=700 * BYTES, cache_dir=str(tmp_path))
    following = turns(core, "s")
    archive = core.reuse.cache.archive
    assert archive is not None
    assert archive.flush(20)
    core.rest()
    for other in ("t", "u"):
        turns(core, other)
    assert archive.flush(20)
    core.rest()
    core.reuse.sessions.prefetch("s")
    fetched(core)
    end = end_of(alone(core, following))
    assert end.prompt_tokens - end.cached_tokens == len(" result 2;")
    core.close()


def test_a_session_of_the_last_process_finds_room_among_active_ones(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    """What lay on disk has no rank of its own yet: its session's request gives it one."""
    engines = Engines(loaded, "plain")
    first = engines.make(cache_dir=str(tmp_path))
    following = turns(first, "s")
    first.close()
    second = engines.make(cache_ram=500 * BYTES, cache_dir=str(tmp_path))
    for other in ("t", "u", "v"):
        turns(second, other)
    archive = second.reuse.cache.archive
    assert archive is not None
    assert archive.flush(20)
    end = end_of(alone(second, following))
    assert end.prompt_tokens - end.cached_tokens == len(" result 2;")
    second.close()
