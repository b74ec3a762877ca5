"""Which sequences decode together: the rule alone, then in an engine, where nobody's tokens may change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.lanes import MOST_LANES, LaneLoad, choose_lane
from engine.model import LoadedModel
from engine.types import Priority
from tests.engine.drive import Told, alone, collect, request, run

SHORT, LONG = LaneLoad(3, 50), LaneLoad(1, 4000)


@pytest.mark.parametrize(
    ("company", "tokens", "padding"),
    [(LaneLoad(), 400, 0), (SHORT, 50, 0), (SHORT, 20, 30), (SHORT, 450, 1200), (LONG, 4000, 0)],
)
def test_padding_is_what_all_rows_are_longer_than_their_texts(
    company: LaneLoad, tokens: int, padding: int
) -> None:
    assert company.padding(tokens) == padding


@pytest.mark.parametrize(
    ("lanes", "tokens", "worth", "place"),
    [
        ([], 4000, 1000, 0),
        ([LaneLoad()], 4000, 1000, 0),
        ([SHORT], 60, 1000, 0),
        ([SHORT], 4000, 1000, 1),  # three rows of padding, nearly 12,000 tokens
        ([SHORT], 4000, 20_000, 0),  # weights that cost more than that
        ([SHORT, LONG], 3900, 1000, 1),
        ([SHORT, LONG], 40, 1000, 0),
        ([SHORT, LONG], 2000, 1000, 2),
        ([SHORT, LaneLoad()], 4000, 1000, 1),  # one that has become empty
        ([LONG, LaneLoad()], 4000, 1000, 0),
        ([SHORT, LaneLoad(9, 900), LONG, LONG], 2000, 10, 2),  # no more lanes: where it costs least
    ],
)
def test_a_sequence_goes_where_it_costs_least(
    lanes: list[LaneLoad], tokens: int, worth: int, place: int
) -> None:
    assert choose_lane(lanes, tokens, worth) == place
    assert len(lanes) <= MOST_LANES


@pytest.mark.parametrize(
    ("lanes", "tokens", "place"),
    [
        ([LONG], 40, 0),
        ([SHORT], 4000, 0),
        ([SHORT, LONG], 40, 1),
        ([SHORT], 450, 1),  # all are short yet
        ([LaneLoad()], 4000, 0),
    ],
)
def test_where_nothing_is_padded_a_sequence_costs_nothing(
    lanes: list[LaneLoad], tokens: int, place: int
) -> None:
    assert choose_lane(lanes, tokens, 1000, separate=1024) == place


@pytest.mark.parametrize("worth", [0, 10**9])
def test_nobodys_tokens_depend_on_the_lanes(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, worth: int
) -> None:
    """Each in a lane of its own (there are four), or all in one; sampled, greedy and constrained."""
    monkeypatch.setattr(LoadedModel, "lane_worth", worth)
    core = EngineCore(loaded, EngineConfig(model=loaded.info.path, cache_ram=0))
    wishes = [
        request("a", "a", max_tokens=90, ignore_eos=True),
        request("b", "b" * 330, max_tokens=20, temperature=1.0, seed=3, ignore_eos=True),
        request("c", "c" * 120, max_tokens=40, temperature=0.7, seed=4, frequency_penalty=0.5),
        request("d", "d" * 40, max_tokens=30, grammar='start: /[a-z ]{12,20}/ "."'),
        request("e", "e" * 200, max_tokens=12, top_k=3, temperature=1.0, seed=5),
        request("f", "f" * 60),
    ]
    expected = {one.id: alone(core, one).text for one in wishes}
    told = run(core, *wishes, stagger=3)
    assert {id: one.text for id, one in told.items()} == expected
    assert core.stats().peak_batch >= 3
    assert len(core._runner._lanes) == (MOST_LANES if worth == 0 else 1)
    assert (core.stats().cache_bytes, core.stats().running) == (0, 0)


def test_a_long_prompt_beside_short_ones_moves_nobodys_cache(loaded: LoadedModel) -> None:
    """What the streams of the others would have to wait for: their caches stay as short as they are."""
    core = EngineCore(loaded, EngineConfig(model=loaded.info.path, cache_ram=0))
    long = loaded.info.context_length - 20
    for n in range(6):
        core.submit(request(f"short{n}", "s" * (5 + n), max_tokens=300, ignore_eos=True))
    for _ in range(20):
        core.step()
    before = core.stats().cache_bytes
    core.submit(request("long", "l" * long, max_tokens=10, ignore_eos=True))
    most = 0
    while core.stats().running == 7 or core.stats().waiting:
        core.step()
        most = max(most, core.stats().cache_bytes)
    row = loaded.cost.per_token * (long + 256)
    assert most <= before + 2 * row, "seven rows as long as the longest would take seven times that"


class Watched:
    """A network that notes how many rows it is given."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self.rows: list[int] = []

    def __call__(self, inputs: Any, **options: Any) -> Any:
        self.rows.append(inputs.shape[0])
        return self._network(inputs, **options)

    @property
    def layers(self) -> Any:
        return self._network.layers


def test_a_health_probe_joins_nobodys_batch(loaded: LoadedModel) -> None:
    """Where one request is decoded at a time so that it is the same always, it is alone then too."""
    network = Watched(loaded.network)
    config = EngineConfig(model=loaded.info.path, max_batch=1, cache_ram=0)
    core = EngineCore(replace(loaded, network=network), config)
    requests = [
        request("text", "t" * 40, max_tokens=20, ignore_eos=True),
        request("probe", "p", max_tokens=6, ignore_eos=True, priority=Priority.probe),
    ]
    told = {"text": Told(), "probe": Told()}
    core.submit(requests[0])
    for _ in range(4):
        collect(told, core.step())
    core.submit(requests[1])
    together = False
    while core.busy:
        collect(told, core.step())
        together |= core.stats().batch_size == 2
    assert together, "nothing was tested"
    assert set(network.rows) == {1}
    assert (told["text"].tokens, told["probe"].tokens) == (20, 6)
