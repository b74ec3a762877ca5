"""The scheduler alone: a simulated machine with a clock of its own."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from engine.errors import QueueFull
from engine.scheduler import FIRST_CHUNK, Limits, Pace, Queued, Scheduler, Stage
from engine.types import GenerateRequest, Priority, SamplingParams

INTERACTIVE, BACKGROUND, PROBE = Priority.interactive, Priority.background, Priority.probe


def limits(**changed: int) -> Limits:
    base: dict[str, Any] = {
        "max_batch": 4,
        "queue_limit": 100,
        "prefill_step": 512,
        "prefill_step_min": 16,
        "kv_tokens": 10**9,
    }
    return Limits(**{**base, **changed}, prefill_share=8.0)


def submit(
    scheduler: Scheduler, id: str, session: str, priority: Priority, prompt: int, answer: int, now: float
) -> Queued:
    sampling = SamplingParams(max_tokens=answer)
    request = GenerateRequest(
        id=id, prompt=(0,) * prompt, sampling=sampling, session=session, priority=priority
    )
    return scheduler.submit(request, answer, now)


def find(scheduler: Scheduler, id: str) -> Queued:
    return next(entry for entry in scheduler.entries if entry.id == id)


@dataclass
class Machine:
    """Prefills a token in 1 ms, decodes a step in 10 ms, and does what the plans say."""

    scheduler: Scheduler
    now: float = 0.0
    left: dict[str, int] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)  # id -> when it started to decode
    ended: dict[str, float] = field(default_factory=dict)
    gaps: list[float] = field(default_factory=list)
    pauses: list[str] = field(default_factory=list)
    prompts: dict[str, int] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)

    def submit(
        self, id: str, prompt: int, *, answer: int = 10, session: str = "", priority: Priority = INTERACTIVE
    ) -> None:
        submit(self.scheduler, id, session, priority, prompt, answer, self.now)
        self.left[id], self.prompts[id] = answer, prompt

    def step(self) -> None:
        plan = self.scheduler.plan(self.now)
        self.pauses += plan.pause
        self.active = [id for id in self.active if id not in plan.pause] + list(plan.insert)
        assert len(self.active) <= plan.prefill_batch or not self.active
        rows = [(id, min(self.prompts[id], plan.prefill_step)) for id in self.active]
        decoding = list(self.decoding())
        prefilled = max((size for _, size in rows), default=0) * len(rows)
        seconds = 0.001 * prefilled + (0.010 if decoding else 0.0) + 1e-6
        self.now += seconds
        self.scheduler.pace.observe(seconds, len(decoding), prefilled)
        if decoding:
            self.gaps.append(seconds)
        for id in decoding:
            self.left[id] -= 1
            if not self.left[id]:
                self.ended[id] = self.now
                self.scheduler.finish(find(self.scheduler, id), self.now)
        for id, size in rows:
            self.prompts[id] -= size
            self.scheduler.progress(find(self.scheduler, id), self.prompts[id])
            if not self.prompts[id]:
                self.active.remove(id)
                self.first[id] = self.now

    def decoding(self) -> list[str]:
        return [entry.id for entry in self.scheduler.at(Stage.decoding)]

    def run(self, steps: int = 100_000) -> None:
        while self.scheduler.entries and steps:
            steps -= 1
            self.step()
            held = self.scheduler.running
            assert held <= self.scheduler.limits.max_batch + 1
        assert not self.scheduler.entries, "starved or stuck"


@pytest.fixture
def machine() -> Machine:
    """Warmed up, so that the scheduler knows its pace."""
    machine = Machine(Scheduler(limits()))
    for n in range(6):
        machine.submit(f"warm{n}", 100)
    machine.run()
    machine.gaps.clear()
    machine.first.clear()
    return machine


def test_a_long_prompt_does_not_freeze_those_who_decode(machine: Machine) -> None:
    for n in range(3):
        machine.submit(f"talk{n}", 10, answer=2000)
    for _ in range(10):
        machine.step()
    machine.gaps.clear()
    arrived = machine.now
    machine.submit("long", 4096, answer=1)
    while "long" not in machine.first:
        machine.step()
    assert max(machine.gaps) <= 12 * 0.010
    assert machine.first["long"] - arrived <= 1.5 * 4.096, "and it still arrives soon"


def test_short_prompts_overtake_a_long_one_that_came_with_them(machine: Machine) -> None:
    machine.scheduler.limits = limits(max_batch=16)
    arrived = machine.now
    machine.submit("long", 2048)
    for n in range(7):
        machine.submit(f"short{n}", 16)
    machine.run()
    shorts = [machine.first[f"short{n}"] - arrived for n in range(7)]
    assert max(shorts) < 0.3
    assert machine.first["long"] - arrived < 2.048 + 0.7


def test_a_short_prompt_pauses_a_long_one_that_is_under_way(machine: Machine) -> None:
    machine.submit("long", 4096)
    machine.step()
    arrived = machine.now
    machine.submit("short", 16)
    machine.run()
    assert machine.pauses == ["long"]
    assert machine.first["short"] - arrived < 0.6
    assert machine.first["short"] < machine.first["long"]


def test_a_very_long_prompt_starts_slowly_and_others_do_not(machine: Machine) -> None:
    """Who comes a moment later waits for the chunk that runs."""
    for id, tokens, chunk in (("long", 4096, FIRST_CHUNK), ("turn", 480, 480)):
        began = machine.now
        machine.submit(id, tokens)
        machine.step()
        assert machine.now - began == pytest.approx(0.001 * chunk, abs=1e-3)
        while machine.scheduler.entries:
            machine.step()


def test_a_prompt_starts_slowly_however_long_it_takes_to_come_in() -> None:
    """While what it has in the cache is put together, steps go by in which nothing of it is computed."""
    scheduler = Scheduler(limits())
    submit(scheduler, "decodes", "", INTERACTIVE, 100, 10, 0.0)
    scheduler.plan(0.0)
    scheduler.progress(find(scheduler, "decodes"), 0)
    submit(scheduler, "long", "", INTERACTIVE, 4096, 10, 0.0)
    plans = [scheduler.plan(0.0) for _ in range(5)]
    assert plans[0].insert == ("long",)
    assert {plan.prefill_step for plan in plans} == {FIRST_CHUNK}
    scheduler.progress(find(scheduler, "long"), 4096 - FIRST_CHUNK)
    assert scheduler.plan(0.0).prefill_step == 2 * FIRST_CHUNK


def test_prefill_beside_slow_decoding_never_looks_free() -> None:
    """A step that was slow for another reason must not let the chunks of a whole prompt grow."""
    pace = Pace(prefill_token=0.0005, decode_step=0.02)
    pace.observe(1.0, 3, 0)
    for _ in range(50):
        pace.observe(0.02 + 64 * 0.0005, 3, 64)
    assert pace.prefill_token >= 0.0004


def test_the_next_prompt_does_not_wait_for_first_tokens(machine: Machine) -> None:
    """A first token comes out of the step that computed it: the next step has room for another prompt."""
    machine.submit("long", 4096)
    machine.step()
    for n in range(3):
        machine.submit(f"short{n}", 20)
    while not machine.first:
        machine.step()
    began = machine.now
    machine.step()
    assert machine.now - began >= 0.010 + 0.001 * FIRST_CHUNK


def test_short_prompts_join_those_who_decode_together(machine: Machine) -> None:
    machine.scheduler.limits = replace(limits(max_batch=16), prefill_share=16.0)
    machine.submit("talk", 10, answer=2000)
    for _ in range(10):
        machine.step()
    machine.gaps.clear()
    for n in range(4):
        machine.submit(f"short{n}", 35)
    machine.step()
    assert {f"short{n}" for n in range(4)} <= machine.first.keys()
    assert max(machine.gaps) <= 0.010 + 16 * 0.010 + 1e-3


def test_a_prompt_that_is_nearly_done_is_not_paused(machine: Machine) -> None:
    machine.submit("long", 600)
    machine.step()
    machine.submit("medium", 400)
    machine.run()
    assert machine.pauses == []


def test_a_long_prompt_is_not_starved_by_a_stream_of_short_ones(machine: Machine) -> None:
    machine.submit("long", 2000)
    arrived = machine.now
    n = 0
    while "long" not in machine.first:
        if len(machine.scheduler.entries) < 12:
            machine.submit(f"s{(n := n + 1)}", 100, answer=5)
        machine.step()
        assert machine.now - arrived < 20


def test_interactive_goes_before_background_and_pauses_it(machine: Machine) -> None:
    machine.submit("thinking", 4000, priority=BACKGROUND)
    machine.submit("waiting", 2000, priority=BACKGROUND)
    machine.step()
    machine.submit("person", 3000)
    machine.run()
    assert machine.pauses[0] in ("thinking", "waiting")
    assert machine.first["person"] < min(machine.first["thinking"], machine.first["waiting"])


def test_a_probe_gets_the_place_beyond_the_last(machine: Machine) -> None:
    for n in range(9):
        machine.submit(f"r{n}", 50, answer=500)
    while len(machine.decoding()) < 4:
        machine.step()
    arrived = machine.now
    machine.submit("probe", 1, answer=1, priority=PROBE)
    while "probe" not in machine.ended:
        machine.step()
    assert machine.now - arrived < 0.2
    assert len(machine.decoding()) == 4


def test_sessions_share_the_places(machine: Machine) -> None:
    """One session floods the queue; another's single request does not wait for all of it."""
    for n in range(20):
        machine.submit(f"flood{n}", 50, answer=20, session="flood")
    machine.step()
    machine.submit("guest", 50, answer=20, session="guest")
    machine.run()
    order = sorted(machine.first, key=lambda id: machine.first[id])
    assert order.index("guest") <= 6


def test_prompts_of_one_length_prefill_together_and_others_do_not() -> None:
    machine = Machine(Scheduler(limits(max_batch=8)))
    for n, length in enumerate((40, 41, 300, 39, 40)):
        machine.submit(f"p{n}", length)
    plan = machine.scheduler.plan(0.0)
    assert sorted(plan.insert) == ["p0", "p1", "p3", "p4"]
    assert plan.prefill_batch == 4
    assert plan.prefill_batch * plan.prefill_step <= 512


def test_the_queue_has_an_end_and_says_when_to_come_back(machine: Machine) -> None:
    machine.scheduler.limits = limits(queue_limit=5)
    for n in range(4 + 5):
        machine.submit(f"r{n}", 10)
    with pytest.raises(QueueFull) as full:
        machine.submit("late", 10)
    assert 1.0 <= full.value.retry_after_s <= 60.0
    machine.submit("probe", 1, priority=PROBE)
    machine.run()


def test_requests_wait_for_memory_and_none_waits_for_ever(machine: Machine) -> None:
    """Rows times the longest must fit; a request that fits nowhere runs alone."""
    machine.scheduler.limits = limits(max_batch=16, kv_tokens=4000)
    sizes = {f"r{n}": length for n, length in enumerate((900, 900, 900, 900, 100, 3900, 100, 9000, 50, 50))}
    for id, length in sizes.items():
        machine.submit(id, length, answer=50)
    while machine.scheduler.entries:
        machine.step()
        held = [entry for entry in machine.scheduler.entries if entry.stage is not Stage.waiting]
        assert len(held) <= 1 or len(held) * max(entry.size for entry in held) <= 4000
    assert machine.ended.keys() >= sizes.keys()


def test_a_sequence_that_outgrew_its_guess_counts_in_full(machine: Machine) -> None:
    machine.scheduler.limits = limits(max_batch=16, kv_tokens=5000)
    machine.submit("talker", 100, answer=10_000)
    machine.step()
    machine.scheduler.grown(find(machine.scheduler, "talker"), 3000)
    machine.submit("next", 100, answer=10)
    for _ in range(20):
        machine.step()
    assert machine.scheduler.waiting == 1
    machine.submit("probe", 1, answer=1, priority=PROBE)
    while "probe" not in machine.ended:
        machine.step()
    machine.scheduler.finish(find(machine.scheduler, "talker"), machine.now)
    machine.run()
    assert "next" in machine.ended


@pytest.mark.parametrize("seed", range(20))
def test_any_load_is_served_to_the_end(seed: int) -> None:
    """Random arrivals, lengths, sessions, priorities and aborts: all end, and no place is ever lost."""
    chance = random.Random(seed)
    machine = Machine(Scheduler(limits(max_batch=chance.randint(1, 6), queue_limit=1000)))
    submitted = 0
    while submitted < 120 or machine.scheduler.entries:
        if submitted < 120 and chance.random() < 0.4:
            machine.submit(
                f"r{submitted}",
                int(10 ** chance.uniform(0, 3.3)),
                answer=chance.randint(1, 40),
                session=chance.choice(["", "a", "b"]),
                priority=chance.choice([PROBE, INTERACTIVE, INTERACTIVE, BACKGROUND]),
            )
            submitted += 1
        if machine.scheduler.entries and chance.random() < 0.05:
            gone = chance.choice(machine.scheduler.entries)
            machine.scheduler.finish(gone, machine.now)
            machine.active = [id for id in machine.active if id != gone.id]
        machine.step()
        assert machine.scheduler.running <= machine.scheduler.limits.max_batch + 1
        assert machine.now < 10_000
    assert (machine.scheduler.running, machine.scheduler.waiting) == (0, 0)


def test_a_prefill_that_nobody_waits_for_is_hardly_noticed() -> None:
    scheduler = Scheduler(Limits(2, 8, 2048, 16, 8.0), Pace(prefill_token=0.0005, decode_step=0.02))
    submit(scheduler, "late", "s", Priority.background, 5000, 1, 0.0)
    alone = scheduler.plan(0.0)
    assert alone.insert == ("late",)
    assert alone.prefill_step <= 0.05 / 0.0005
    submit(scheduler, "now", "t", Priority.interactive, 100, 10, 1.0)
    plan = scheduler.plan(1.0)
    assert (plan.pause, plan.insert) == (("late",), ("now",))
    scheduler.progress(find(scheduler, "now"), 0)
    back = scheduler.plan(2.0)
    assert (back.insert, back.prefill_step) == (("late",), 16)


def test_background_requests_stand_in_the_way_only_of_those_that_find_no_place() -> None:
    scheduler = Scheduler(Limits(2, 8, 2048, 16, 8.0))
    submit(scheduler, "late", "s", Priority.background, 5000, 1, 0.0)
    scheduler.plan(0.0)
    submit(scheduler, "a", "t", Priority.interactive, 100, 10, 1.0)
    assert scheduler.in_the_way() == []
    scheduler.plan(1.0)
    submit(scheduler, "b", "u", Priority.interactive, 100, 10, 2.0)
    assert scheduler.in_the_way() == ["late"]


def test_background_requests_take_no_room_to_wait_from_others() -> None:
    scheduler = Scheduler(Limits(1, 0, 2048, 16, 8.0))
    submit(scheduler, "late", "s", Priority.background, 5000, 1, 0.0)
    scheduler.plan(0.0)
    submit(scheduler, "now", "t", Priority.interactive, 100, 10, 1.0)
    for priority in (Priority.background, Priority.interactive):
        with pytest.raises(QueueFull):
            submit(scheduler, "more", "u", priority, 100, 10, 1.0)


def test_several_prefills_that_nobody_waits_for_are_as_small_as_one() -> None:
    """Beside one who decodes; each of them on its turn, however many begin together."""
    scheduler = Scheduler(limits(), Pace(prefill_token=0.0005, decode_step=0.02))
    submit(scheduler, "decodes", "", INTERACTIVE, 100, 10, 0.0)
    scheduler.plan(0.0)
    scheduler.progress(find(scheduler, "decodes"), 0)
    scheduler.plan(0.0)
    for n in range(3):
        submit(scheduler, f"ahead{n}", "", BACKGROUND, 40, 10, 0.0)
    plan = scheduler.plan(0.0)
    assert len(plan.insert) > 1
    assert plan.prefill_step == scheduler.limits.prefill_step_min
