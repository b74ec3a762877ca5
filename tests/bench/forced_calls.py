"""What it saves to compute known tokens ahead (engine.drafting): two engines in this process, of which one
computes every token by itself. They take turns, request by request, and share the model.

All prompts are in both caches before anything is measured, so that the time is the answer's alone: from the
pass that computes its first token to its end. Where no difference is expected, both engines decode at the
same time and take turns every few steps, so that what else the machine does meets both.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import msgspec

from corpora.loops import WORLDS
from corpora.malformations.leaderboard import load_cases
from corpora.questions import EXAM_SEED, held_out, unseen
from corpora.world.script import to_conversation, write_script
from engine.config import EngineConfig
from engine.core import EngineCore
from engine.model import load_model
from engine.resolve import BUNDLED, MODELS
from engine.template import ChatTemplate
from engine.types import Finished, GenerateRequest, SamplingParams
from proxy.codecs.openai_request import decode_request
from proxy.prompts.constraints import Constraints
from proxy.prompts.prompting import Prompter
from proxy.upstreams.wire import find_wire
from repair.formats import AUTO

PARTS = ["real", "invented", "choice", "text", "beside", "reask", "loops"]
STREAMS = 8
ANSWER = 300  # tokens of a call at most
TEXT = 128  # tokens of a free text
BLOCK = 4  # steps of one engine, then of the other
LOOP_TURNS = 16
BESIDE = 4  # calls beside free texts
NUMBERS = count()
Settled = Mapping[str, Mapping[str, Any]]
NOTHING: Settled = {}


class Asker:
    """Makes what an engine is asked for out of messages and tools."""

    def __init__(self, model: Path, ends: Sequence[int]) -> None:
        template = ChatTemplate.load(model)
        format = find_wire(template, ()).format or AUTO
        self._prompter = Prompter(template, format, ends)
        self._constraints = Constraints(format, template.source, template.markers)

    def call(
        self, messages: Sequence[Any], tools: Sequence[Any], settled: Settled = NOTHING
    ) -> GenerateRequest:
        """For one call. settled: as in ChatRequest."""
        body: dict[str, Any] = {"model": "m", "messages": list(messages), "tools": list(tools)}
        body |= {"tool_choice": "required", "parallel_tool_calls": False}
        request = replace(decode_request(json.dumps(body).encode()).request, settled=settled)
        prepared = self._prompter.prepare(request)
        grammar = self._constraints.choose(request, prepared.rendered.generation_prompt).grammar
        sampling = SamplingParams(max_tokens=ANSWER, temperature=0.0)
        return GenerateRequest(id="", prompt=prepared.rendered.tokens, sampling=sampling, grammar=grammar)

    def turn(self, messages: Sequence[Any], tools: Sequence[Any]) -> GenerateRequest:
        """For a turn of an agent's loop, which is free to answer as it likes."""
        body = {"model": "m", "messages": list(messages), "tools": list(tools)}
        prepared = self._prompter.prepare(decode_request(json.dumps(body).encode()).request)
        sampling = SamplingParams(max_tokens=ANSWER, temperature=0.0)
        return GenerateRequest(id="", prompt=prepared.rendered.tokens, sampling=sampling)

    def text(self, number: int, **sampling: Any) -> GenerateRequest:
        """For a text of TEXT tokens."""
        body = {"model": "m", "messages": [{"role": "user", "content": f"Tell me about place {number}."}]}
        prepared = self._prompter.prepare(decode_request(json.dumps(body).encode()).request)
        wanted = {"max_tokens": TEXT, "temperature": 0.0, "ignore_eos": True, **sampling}
        return GenerateRequest(id="", prompt=prepared.rendered.tokens, sampling=SamplingParams(**wanted))


@dataclass(frozen=True, slots=True)
class Answer:
    """seconds: from its first pass to its end."""

    tokens: tuple[int, ...]
    text: str
    seconds: float


def answer(core: EngineCore, *asked: GenerateRequest) -> list[Answer]:
    """The answers to requests that come together. Raises RuntimeError where one fails."""
    ids = [f"r{next(NUMBERS)}" for _ in asked]
    for id, one in zip(ids, asked, strict=True):
        core.submit(msgspec.structs.replace(one, id=id))
    texts, ends = dict.fromkeys(ids, ""), dict[str, Finished]()
    while core.busy:
        for event in core.step():
            texts[event.id] += getattr(event, "text", "")
            if isinstance(event, Finished):
                ends[event.id] = event
    if set(ends) != set(ids):
        raise RuntimeError("a request failed")
    return [
        Answer(end.completion, texts[id], end.prefill_s + end.decode_s)
        for id, end in ((id, ends[id]) for id in ids)
    ]


@dataclass(frozen=True, slots=True)
class Arms:
    """The engine as it is, and the one that computes nothing ahead.

    most_s: seconds after which turns() begins no further round.
    """

    ahead: EngineCore
    plain: EngineCore
    most_s: float

    def turns(self, one: Callable[[EngineCore], float], rounds: int) -> list[tuple[float, float]]:
        """What `one` measures with each of them, (ahead, plain) for each round; who begins changes."""
        for core in (self.ahead, self.plain):
            one(core)
        pairs: list[tuple[float, float]] = []
        end = time.monotonic() + self.most_s
        for n in range(rounds):
            if pairs and time.monotonic() > end:
                break
            order = (self.ahead, self.plain) if n % 2 else (self.plain, self.ahead)
            found = {id(core): one(core) for core in order}
            pairs.append((found[id(self.ahead)], found[id(self.plain)]))
        return pairs


def rate(core: EngineCore, *asked: GenerateRequest) -> float:
    """Tokens a second of all together."""
    answers = answer(core, *asked)
    return sum(len(one.tokens) for one in answers) / max(one.seconds for one in answers)


def line(name: str, bar: str, ratios: Sequence[float], more: str) -> None:
    found = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"| {name} | {bar} | {found} | {more} |", flush=True)


def real_calls(asker: Asker, folder: Path, most: int) -> list[GenerateRequest]:
    """Calls of the tools in a folder of the Berkeley Function Calling Leaderboard, spread over its cases. The
    message names the right call, because this is about speed.
    """
    cases = [case for case in load_cases(folder) if case[1]]
    asked = []
    for tools, calls in cases[:: max(1, len(cases) // most)][:most]:
        name, arguments = calls[0]
        declared = [
            {"type": "function", "function": {"name": tool.name, "parameters": tool.parameters}}
            for tool in tools
        ]
        message = f"Call {name} with {json.dumps(arguments)}."
        asked.append(asker.call([{"role": "user", "content": message}], declared))
    return asked


def report_calls(arms: Arms, kind: str, asked: Sequence[GenerateRequest], rounds: int) -> None:
    """All calls one after the other, then several at a time."""
    before = arms.ahead.stats()
    differing = sum(answer(arms.ahead, one)[0].tokens != answer(arms.plain, one)[0].tokens for one in asked)
    after = arms.ahead.stats()
    steps, made = after.steps - before.steps, after.tokens_generated - before.tokens_generated

    def one_by_one(core: EngineCore) -> float:
        answers = [answer(core, one)[0] for one in asked]
        return sum(len(one.tokens) for one in answers) / sum(one.seconds for one in answers)

    pairs = arms.turns(one_by_one, rounds)
    tokens = f"{median(a for a, _ in pairs):.0f} and {median(b for _, b in pairs):.0f} tokens a second"
    more = f"{tokens}; {differing} of {len(asked)} differ; {made} tokens in {steps} steps"
    line(f"calls of {kind}, one at a time: ahead / not", ">= 1.3", [a / b for a, b in pairs], more)
    for size in (2, 4):
        parts = [asked[at : at + size] for at in range(0, len(asked), size)]

        def together(core: EngineCore, parts: Sequence[Sequence[GenerateRequest]] = parts) -> float:
            answers = [answer(core, *part) for part in parts]
            seconds = sum(max(one.seconds for one in part) for part in answers)
            return sum(len(one.tokens) for part in answers for one in part) / seconds

        found = arms.turns(together, max(1, rounds // 2))
        line(f"the same, {size} at a time: ahead / not", "", [a / b for a, b in found], "")


def report_open_text(arms: Arms, asker: Asker, rounds: int) -> None:
    """A text under a grammar that leaves everything open: what looking for known tokens costs."""
    text = msgspec.structs.replace(asker.text(1), grammar="start: /(.|\\n)*/")
    pairs = arms.turns(lambda core: rate(core, text), rounds)
    line("a text under a grammar that leaves all open: ahead / not", "", [a / b for a, b in pairs], "")


def report_one_choice(arms: Arms, asker: Asker, rounds: int) -> None:
    values = {
        "repository": "fortieth/engine",
        "branch": "release candidate of the twelfth",
        "reviewers": ["first person", "second person"],
        "options": {"squash": True, "delete_branch": False},
    }
    schema = {
        "type": "object",
        "properties": {name: {"const": value} for name, value in values.items()},
        "required": list(values),
    }
    tool = {"type": "function", "function": {"name": "merge_change", "parameters": schema}}
    call = asker.call([{"role": "user", "content": "Merge it."}], [tool])
    text = asker.text(0)
    ratios = [
        (rate(arms.ahead, call) / rate(arms.ahead, text), rate(arms.plain, call) / rate(arms.plain, text))
        for _ in range(rounds + 1)
    ]
    plain = f"without: {median(b for _, b in ratios[1:]):.2f}"
    line("a call with one choice nearly everywhere / free text", ">= 2", [a for a, _ in ratios[1:]], plain)


def begin(core: EngineCore, *asked: GenerateRequest) -> list[str]:
    """Starts requests; returns when all of them decode."""
    ids = [f"t{next(NUMBERS)}" for _ in asked]
    for id, one in zip(ids, asked, strict=True):
        core.submit(msgspec.structs.replace(one, id=id))
    while not core.calm or core.stats().running < len(asked):
        core.step()
    return ids


def step_by_step(
    one: EngineCore, other: EngineCore, texts: Sequence[GenerateRequest]
) -> list[tuple[float, float]]:
    """`other` / `one` in seconds, and in seconds of computing by all threads, for the same few steps, again
    and again while both decode.
    """
    for core in (one, other):
        begin(core, *texts)
    ratios = []
    for block in range(TEXT // BLOCK - 2 * STREAMS // BLOCK):
        spent = dict[int, tuple[float, float]]()
        for core in (one, other) if block % 2 else (other, one):
            began, computing = time.perf_counter(), time.process_time()
            for _ in range(BLOCK):
                core.step()
            spent[id(core)] = (time.perf_counter() - began, time.process_time() - computing)
        wall, computing = (b / a for a, b in zip(spent[id(one)], spent[id(other)], strict=True))
        ratios.append((wall, computing))
    for core in (one, other):
        while core.busy:
            core.step()
    return ratios


def quartiles(name: str, bar: str, ratios: Sequence[tuple[float, float]], more: str) -> None:
    found = [
        f"{middle:.3f} ({low:.3f} to {high:.3f})"
        for low, middle, high in (quantiles(some, n=4) for some in zip(*ratios, strict=True))
    ]
    print(f"| {name} | {bar} | {found[0]} | in seconds of computing {found[1]}; {more} |", flush=True)


def report_text(arms: Arms, asker: Asker, control: EngineCore, rounds: int) -> None:
    """Free texts, where nothing can be known; and two engines without drafts, which must come out at 1."""
    texts = [asker.text(n) for n in range(STREAMS)]
    found: list[tuple[float, float]] = []
    same: list[tuple[float, float]] = []
    for _ in range(2 * rounds):
        found += step_by_step(arms.ahead, arms.plain, texts)
        same += step_by_step(control, arms.plain, texts)
    more = f"median of {len(found)} pairs of {BLOCK} steps, and quartiles"
    quartiles(f"{STREAMS} free texts: ahead / not", ">= 0.98", found, more)
    quartiles("the same, not / not", "", same, "what such a median says by itself")


def report_beside(arms: Arms, asker: Asker, calls: Sequence[GenerateRequest], rounds: int) -> None:
    """Free texts and calls that come one after the other beside them: the time for all of it."""
    texts = [asker.text(n) for n in range(STREAMS - 1)]

    def beside(core: EngineCore) -> float:
        ids, queue, call = begin(core, *texts), list(calls[:BESIDE]), ""
        began, left = time.perf_counter(), set(ids)
        while left or call or queue:
            if not call and queue:
                call = f"c{next(NUMBERS)}"
                core.submit(msgspec.structs.replace(queue.pop(0), id=call))
            ended = {event.id for event in core.step() if isinstance(event, Finished)}
            left -= ended
            call = "" if call in ended else call
        return 1 / (time.perf_counter() - began)

    found = arms.turns(beside, rounds)
    name = f"{len(texts)} free texts and {BESIDE} calls beside them, one after the other: ahead / not"
    line(name, ">= 0.98", [a / b for a, b in found], "")


def report_reask(arms: Arms, asker: Asker, rounds: int) -> None:
    """Calls of four arguments, of which three are kept as the model wrote them, and nothing else changes."""
    pairs: list[tuple[GenerateRequest, GenerateRequest]] = []
    for question in unseen(400):
        if len(pairs) == 12 or len(question.expected[0].arguments) != 4:
            continue
        whole = asker.call(question.messages, question.tools)
        said = answer(arms.plain, whole)[0].text
        call = json.loads(said[said.index("{") : said.rindex("}") + 1])
        kept = dict(list(call["arguments"].items())[: len(call["arguments"]) - 1])
        if len(kept) == 3:
            settled = {call["name"]: kept}
            pairs.append((asker.call(question.messages, question.tools, settled), whole))

    def seconds(core: EngineCore, place: int) -> float:
        return sum(answer(core, pair[place])[0].seconds for pair in pairs)

    for one in (arms.ahead, arms.plain):
        seconds(one, 0)
        seconds(one, 1)
    found = [(seconds(arms.ahead, 0) / seconds(arms.ahead, 1)) for _ in range(rounds)]
    plain = [(seconds(arms.plain, 0) / seconds(arms.plain, 1)) for _ in range(rounds)]
    across = [(seconds(arms.ahead, 0) / seconds(arms.plain, 1)) for _ in range(rounds)]
    more = (
        f"{len(pairs)} calls; without: {median(plain):.2f}; with / without, writing all: {median(across):.2f}"
    )
    line("a re-ask that keeps 3 of 4 arguments / one that writes all", "<= 0.5", found, more)


def report_loops(arms: Arms, asker: Asker, world: str, loops: int, rounds: int) -> None:
    """Turns of agents' loops without a grammar, whose calls and answers repeat what stands in the prompt: the
    time from the first pass to the end, and the processor time of it all.
    """
    asked: list[GenerateRequest] = []
    for seed in range(loops):
        box = WORLDS[world][seed % len(WORLDS[world])]
        loop = to_conversation(write_script(held_out(seed, EXAM_SEED), box, LOOP_TURNS))
        places = [place for place, message in enumerate(loop.messages) if message["role"] == "assistant"]
        asked += [asker.turn(loop.messages[:place], loop.tools) for place in places[len(places) // 2 :: 3]]
    before, other = arms.ahead.stats().steps, arms.plain.stats().steps
    pairs = [(answer(arms.ahead, one)[0], answer(arms.plain, one)[0]) for one in asked]
    steps, steps_plain = arms.ahead.stats().steps - before, arms.plain.stats().steps - other
    differing = sum(a.tokens != b.tokens for a, b in pairs)
    spent: list[tuple[float, float]] = []
    for number in range(rounds):
        for one in asked:
            found: dict[int, tuple[float, float]] = {}
            for core in (arms.ahead, arms.plain) if number % 2 else (arms.plain, arms.ahead):
                began = time.process_time()
                seconds = answer(core, one)[0].seconds
                found[id(core)] = (seconds, time.process_time() - began)
            ahead, plain = found[id(arms.ahead)], found[id(arms.plain)]
            spent.append((plain[0] / ahead[0], plain[1] / ahead[1]))
    more = f"{differing} of {len(asked)} differ; {steps} and {steps_plain} steps"
    quartiles(f"turns of loops, {world}: ahead / not", "", spent, more)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bfcl", type=Path, help="a folder of the leaderboard's files, for real tools")
    parser.add_argument("--model", type=Path, default=MODELS / BUNDLED[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", type=int, default=60, help="calls of each kind")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--most-seconds", type=float, default=60.0, help="begin no round of a row after so long"
    )
    options = parser.parse_args()
    config = EngineConfig(model=str(options.model))
    loaded = load_model(config, "")
    ahead, plain, control = (EngineCore(loaded, config, drafts=drafts) for drafts in (True, False, False))
    arms = Arms(ahead, plain, options.most_seconds)
    asker = Asker(options.model, loaded.info.eos_token_ids)
    invented = [asker.call(question.messages, question.tools) for question in unseen(options.cases)]
    print("| measure | bar | found | |\n|---|--:|--:|---|")
    if "real" in options.only and options.bfcl is not None:
        report_calls(arms, "real tools", real_calls(asker, options.bfcl, options.cases), options.rounds)
    if "invented" in options.only:
        report_calls(arms, "invented tools", invented, options.rounds)
    if "choice" in options.only:
        report_one_choice(arms, asker, options.rounds)
        report_open_text(arms, asker, options.rounds)
    if "text" in options.only:
        report_text(arms, asker, control, options.rounds)
    if "beside" in options.only:
        report_beside(arms, asker, invented, options.rounds)
    if "reask" in options.only:
        report_reask(arms, asker, options.rounds)
    if "loops" in options.only:
        looking = EngineCore(loaded, msgspec.structs.replace(config, prompt_lookup=True))
        arms = Arms(looking, plain, options.most_seconds)
        report_loops(arms, asker, "worlds", 6, options.rounds)
        report_loops(arms, asker, "workshop", 3, options.rounds)
