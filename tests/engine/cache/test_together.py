"""Prompts that arrive together are computed once; what nobody waits for stands back."""

from __future__ import annotations

from engine.cache.manager import LEAST_AHEAD
from engine.core import EngineCore
from engine.model import LoadedModel
from engine.types import Finished, Priority
from tests.engine.cache.test_engine import SYSTEM, Engines, end_of
from tests.engine.drive import Told, alone, collect, request, run


def drain(core: EngineCore, told: dict[str, Told]) -> None:
    while core.busy:
        collect(told, core.step())


def test_identical_prompts_are_computed_once(engines: Engines) -> None:
    bare = alone(engines.make(cache_ram=0), request("a", SYSTEM, ignore_eos=True))
    core = engines.make()
    told = run(core, *(request(f"r{n}", SYSTEM, ignore_eos=True) for n in range(4)))
    assert [one.text for one in told.values()] == [bare.text] * 4
    assert core.stats().prefilled_tokens <= len(SYSTEM) + 4
    assert core.stats().cache.followed == 3
    assert sorted(end_of(one).cached_tokens for one in told.values()) == [0] + [len(SYSTEM) - 1] * 3


def test_the_next_takes_over_when_the_first_goes_away(engines: Engines) -> None:
    core = engines.make()
    told = {id: Told() for id in ("b", "c")}
    core.submit(request("a", SYSTEM))
    for _ in range(3):
        core.step()
    core.submit(request("b", SYSTEM, max_tokens=2))
    core.submit(request("c", SYSTEM, max_tokens=2))
    core.abort("a")
    drain(core, told)
    assert end_of(told["b"]).cached_tokens >= 64
    assert end_of(told["c"]).cached_tokens == len(SYSTEM) - 1
    assert core.stats().prefilled_tokens <= len(SYSTEM) + 4


def test_a_follower_may_go_away_or_its_leader_fail(engines: Engines) -> None:
    core = engines.make()
    told = {"c": Told()}
    for id in ("a", "b", "c"):
        core.submit(request(id, SYSTEM, max_tokens=2))
    core.step()
    core.abort("b")
    assert [event.id for event in core.fail_all("boom")] == ["a"]
    drain(core, told)
    assert end_of(told["c"]).completion_tokens > 0


def test_a_common_beginning_is_computed_once(loaded: LoadedModel) -> None:
    """Where most of both is the same; and nobody waits long for a little."""
    engines = Engines(loaded, "plain")
    core = engines.make()
    told = run(core, *(request(f"r{n}", SYSTEM + f"task {n}", max_tokens=2) for n in range(3)))
    assert [end_of(told[f"r{n}"]).cached_tokens for n in (1, 2)] == [len(SYSTEM + "task ")] * 2
    core.submit(request("long", "y" * 80 + "z" * 300, max_tokens=2))
    core.step()
    core.submit(request("short", "y" * 80 + "!", max_tokens=2))
    assert core.stats().cache.followed == 2
    core.close()


def test_what_is_hidden_or_unhurried_leads_nobody(loaded: LoadedModel) -> None:
    core = Engines(loaded, "plain").make()
    core.submit(request("hidden", SYSTEM, max_tokens=2, ephemeral=True))
    core.submit(request("a", SYSTEM, max_tokens=2))
    assert core.stats().cache.followed == 0
    core.submit(request("later", "w" * 200, max_tokens=2, priority=Priority.background))
    core.submit(request("now", "w" * 200, max_tokens=2))
    assert core.stats().cache.followed == 0
    core.close()


def test_a_prefill_gives_up_its_place_and_keeps_its_work(loaded: LoadedModel) -> None:
    core = Engines(loaded, "plain").make(max_batch=1)
    told = {"p": Told(), "a": Told()}
    core.submit(request("p", SYSTEM, prefill_only=True, priority=Priority.background))
    for _ in range(3):
        collect(told, core.step())
    core.submit(request("a", "quick", max_tokens=3, ignore_eos=True))
    collect(told, core.step())
    assert isinstance(told["p"].end, Finished)
    drain(core, told)
    assert told["a"].tokens == 3
    assert end_of(alone(core, request("b", SYSTEM, max_tokens=1))).cached_tokens >= 64
    core.close()


def test_a_prefill_of_a_few_tokens_is_left_to_the_request(loaded: LoadedModel) -> None:
    core = Engines(loaded, "plain").make()
    alone(core, request("a", SYSTEM, max_tokens=1))
    before = core.stats().prefilled_tokens
    few = SYSTEM + "x" * (LEAST_AHEAD - 1)
    assert isinstance(alone(core, request("p", few, prefill_only=True)).end, Finished)
    assert core.stats().prefilled_tokens == before
    core.close()
