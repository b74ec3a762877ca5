"""What the prefix cache is worth, as a table: `make bench-sessions`; see bench.py.

Everything runs in this process, through the core, on random models: the figures are of prefill, cache and
disk, without HTTP. Times are ratios within one run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import msgspec
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.models import gemma3_text, lfm2, qwen3

from engine.cache.record import Record
from engine.config import EngineConfig
from engine.core import EngineCore
from engine.model import LoadedModel, load_model, try_out
from engine.resolve import BUNDLED, MODELS
from engine.types import Failed, Finished, TextChunk
from proxy.conversation.cache_report import MissCause
from proxy.prompts.canonical import ALL_RULES
from tests.engine.drive import request
from tests.engine.tiny import make_model
from tests.proxy.prompts.loops import Server, load, run_loop
from tests.proxy.prompts.test_traces import TRACES

SEED_TOKENS = 1200  # system prompt and tools of a small agent
NEW_TOKENS = 120  # per turn
ANSWER = 24
VOCAB = 261


@dataclass(frozen=True, slots=True)
class Turn:
    """One request: seconds to its first token, the gaps between its tokens, and its last event."""

    ttft: float
    end: Finished
    logprobs: tuple[float, ...]


def attention(layers: int = 6) -> Any:
    """About 10 M parameters: 6 layers of 384 with 24 KB of keys and values a token."""
    return qwen3.Model(
        qwen3.ModelArgs.from_dict(
            {
                "model_type": "qwen3",
                "hidden_size": 384,
                "num_hidden_layers": layers,
                "intermediate_size": 1024,
                "num_attention_heads": 8,
                "num_key_value_heads": 8,
                "head_dim": 64,
                "rms_norm_eps": 1e-6,
                "vocab_size": VOCAB,
                "max_position_embeddings": 32768,
                "rope_theta": 10000.0,
                "tie_word_embeddings": False,
            }
        )
    )


def window() -> Any:
    shape = {"hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCAB}
    own = {"num_hidden_layers": 6, "sliding_window": 512, "sliding_window_pattern": 3}
    sizes = {"intermediate_size": 512, "head_dim": 64}
    return gemma3_text.Model(gemma3_text.ModelArgs(model_type="gemma3_text", **shape, **own, **sizes))


def hybrid() -> Any:
    shape = {"hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCAB}
    block = {"block_dim": 256, "block_ff_dim": 512, "block_multiple_of": 32, "block_ffn_dim_multiplier": 1.0}
    own = {"num_hidden_layers": 6, "full_attn_idxs": [2, 5], "conv_bias": False, "conv_L_cache": 3}
    rest = {"max_position_embeddings": 32768, "norm_eps": 1e-5, "block_auto_adjust_ff_dim": False}
    return lfm2.Model(lfm2.ModelArgs(model_type="lfm2", **shape, **own, **block, **rest))


KINDS: dict[str, Callable[[], Any]] = {"10M": attention, "window": window, "hybrid": hybrid}
BUNDLED_KIND = "bundled"


def model(kind: str, folder: Path, seed: int = 0) -> LoadedModel:
    """A random network around the tiny model's tokenizer, under a fingerprint of its own."""
    if kind == BUNDLED_KIND:
        return load_model(EngineConfig(model=str(MODELS / BUNDLED[0])), "")
    path = folder / "tiny"
    if not path.exists():
        make_model(path)
    loaded = load_model(EngineConfig(model=str(path)), "")
    mx.random.seed(seed)
    network = KINDS[kind]()
    weights = [
        (name, mx.random.normal(value.shape) * 0.05) for name, value in tree_flatten(network.parameters())
    ]
    network.load_weights(weights)
    network.eval()
    mx.eval(network.parameters())
    info = replace_info(loaded, fingerprint=f"{kind}-{seed}", context_length=32768, kv_tokens=2**40)
    return replace(loaded, network=network, cost=try_out(network)[1], info=info)


def replace_info(loaded: LoadedModel, **changes: Any) -> Any:
    return msgspec.structs.replace(loaded.info, **changes)


def text(seed: int, size: int) -> tuple[int, ...]:
    return (seed % 250, *(int(t) for t in np.random.default_rng(seed).integers(0, 250, size - 1)))


def ask(core: EngineCore, prompt: tuple[int, ...], session: str = "s", answer: int = ANSWER) -> Turn:
    """Serve one request alone; afterwards what is to be kept is kept and written, as while a tool runs."""
    began = time.perf_counter()
    core.submit(request("r", prompt, max_tokens=answer, ignore_eos=True, session=session, logprobs=0))
    ttft, end = 0.0, None
    logprobs: list[float] = []
    while core.busy:
        for event in core.step():
            ttft = ttft or time.perf_counter() - began
            if isinstance(event, TextChunk):
                logprobs += [one.chosen.logprob for one in event.logprobs]
            elif isinstance(event, Finished):
                end = event
    assert end is not None
    while core.rest():
        pass
    if core.reuse.cache.archive is not None:
        core.reuse.cache.archive.flush(60)
        core.rest()
    return Turn(ttft, end, tuple(logprobs))


def make(loaded: LoadedModel, **config: Any) -> EngineCore:
    return EngineCore(loaded, EngineConfig(model=loaded.info.path, **{"cache_ram": 2**31, **config}))


def loop(core: EngineCore, turns: int, seed: int = 1) -> list[Turn]:
    """An agent loop: each prompt is the last one, its answer, and NEW_TOKENS more."""
    prompt, done = text(seed, SEED_TOKENS), []
    for turn in range(turns):
        done.append(ask(core, prompt))
        prompt = prompt + done[-1].end.completion + text(1000 * seed + turn, NEW_TOKENS)
    return done


def segment_bytes(core: EngineCore) -> int:
    """Bytes of RAM that are needed to know what the core knows: without the buffers of the last turns."""
    return sum(segment.nbytes for segment in core.reuse.cache.ram.held.values())


def row(name: str, value: str, bar: str, met: bool) -> None:
    print(f"| {name} | {value} | {bar}{', met' if met else ', **missed**'} |", flush=True)


def bench_loop(kind: str, loaded: LoadedModel, turns: int) -> None:
    core = make(loaded)
    done = loop(core, turns)
    extra = [turn.end.prompt_tokens - turn.end.cached_tokens - NEW_TOKENS for turn in done[1:]]
    early, late = (float(np.median([turn.ttft for turn in part])) for part in (done[1:4], done[-3:]))
    label = f"{kind}: tokens prefilled beyond the new ones, {turns} turns, worst"
    row(label, str(max(extra)), "<= 8", max(extra) <= 8)
    label, value = f"{kind}: TTFT of the last three turns / of turns 2 to 4", f"{late / early:.2f}"
    row(label, value, "<= 1.3", late / early <= 1.3)
    core.close()


def bench_restart(kind: str, loaded: LoadedModel, folder: Path, tokens: int) -> None:
    """A new core finds on disk what the last one left, as after a crash."""
    prompt = text(7, tokens)
    first = make(loaded, cache_dir=str(folder / f"restart-{kind}"))
    cold = ask(first, prompt, answer=1)
    warm = ask(first, prompt + text(8, NEW_TOKENS), answer=1)
    first.close()
    second = make(loaded, cache_dir=str(folder / f"restart-{kind}"))
    again = ask(second, prompt + text(9, NEW_TOKENS), answer=1)
    row(
        f"{kind}: TTFT after a restart / warm / cold at {tokens} tokens",
        f"{again.ttft:.3f} / {warm.ttft:.3f} / {cold.ttft:.3f} s = {again.ttft / warm.ttft:.1f} x warm, "
        f"{again.ttft / cold.ttft:.2f} x cold ({again.end.cache.tier}, {again.end.cached_tokens} reused)",
        "<= 2 x warm, <= 0.2 x cold",
        again.ttft <= 2 * warm.ttft and again.ttft <= 0.2 * cold.ttft,
    )
    second.close()


def bench_crowd(kind: str, loaded: LoadedModel, folder: Path, turns: int) -> None:
    """Eight sessions in turn whose caches together are four times the RAM tier."""
    last = SEED_TOKENS + (turns - 1) * (NEW_TOKENS + ANSWER) + ANSWER
    probe = make(loaded)
    ask(probe, text(1, last), answer=1)
    size = segment_bytes(probe)
    probe.close()
    core = make(loaded, cache_ram=2 * size, cache_dir=str(folder / f"crowd-{kind}"))
    prompts = {seed: text(seed, SEED_TOKENS) for seed in range(11, 19)}
    reused = reusable = 0
    for turn in range(turns):
        for seed, prompt in prompts.items():
            end = ask(core, prompt, session=str(seed)).end
            reused += end.cached_tokens
            reusable += len(prompt) - NEW_TOKENS if turn else 0
            prompts[seed] = prompt + end.completion + text(1000 * seed + turn, NEW_TOKENS)
    share = reused / reusable
    row(f"{kind}: 8 sessions, 4 x the RAM tier: reused / reusable", f"{share:.3f}", ">= 0.95", share >= 0.95)
    core.close()


def bench_equal(kind: str, loaded: LoadedModel, folder: Path) -> None:
    """Log probabilities of greedy answers with what came from RAM, from disk, and from disk in 8 bits."""
    prompt = text(3, 1500)
    after = prompt + text(4, NEW_TOKENS)
    fresh_core = make(loaded, cache_ram=0)
    fresh = ask(fresh_core, after)
    for name, at_rest, bar in (("RAM", "", 1e-4), ("disk", "keep", 1e-4), ("q8", "q8", 1e-2)):
        config = {"cache_dir": str(folder / f"equal-{kind}-{name}"), "kv_at_rest": at_rest} if at_rest else {}
        core = make(loaded, **config)
        ask(core, prompt, answer=1)
        if at_rest:
            core.close()
            core = make(loaded, **config)
        got = ask(core, after)
        assert got.end.cached_tokens >= len(prompt) - 1
        worst = max(abs(a - b) for a, b in zip(got.logprobs, fresh.logprobs, strict=True))
        same = got.end.completion == fresh.end.completion
        row(
            f"{kind}: logprobs with {name} / fresh, worst of {ANSWER}",
            f"{worst:.1e}, tokens equal: {same}",
            f"{bar:.0e}",
            worst <= bar and (same or at_rest == "q8"),
        )
        core.close()
    fresh_core.close()


def bench_traces(turns: int) -> None:
    """What clients do to a prefix, with the rules and without the one that helps: prompts, and no model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, (label, trace) in enumerate(TRACES.items()):
            template = load(folder / str(number), trace.source)
            shares: dict[bool, float] = {}
            causes: dict[bool, str] = {}
            for on in (True, False):
                server = Server(template, ALL_RULES if on else ALL_RULES - {trace.rule})
                run_loop(server, turns, trace.change, trace.thinking)
                shares[on] = sum(server.shares) / len(server.shares)
                causes[on] = ", ".join(sorted(server.causes - {MissCause.none})) or "none"
            met = shares[True] >= 0.95 and causes[True] == "none" and causes[False] == trace.cause
            value = f"{shares[True]:.3f} ({causes[True]}); rule off: {shares[False]:.3f} ({causes[False]})"
            row(
                f"trace {label}, {turns} turns: reused of the last prompt", value, ">= 0.95, cause named", met
            )


def bench_gap(loaded: LoadedModel, folder: Path, tokens: int, rounds: int = 5) -> None:
    """Three decode while one comes back from disk, and while one is written: the worst steps of theirs."""
    config = {"cache_dir": str(folder / "gap"), "cache_disk": 2**32}
    core = make(loaded, **config)
    ask(core, text(5, tokens), answer=1)
    size = segment_bytes(core) >> 20
    core.close()
    found = [gaps(loaded, config, (*text(5, tokens), 1)) for _ in range(rounds)]
    read, own, again, written = (float(np.median([one[index] for one in found])) for index in range(4))
    about = f"of {rounds} rounds, {min(one[0] for one in found):.2f} to {max(one[0] for one in found):.2f}"
    label = f"10M: worst step of 3 others while {size} MB come from disk / normal p99"
    row(label, f"{read:.2f} (median {about})", "<= 1.5", read <= 1.5)
    label = "10M: the same, the two steps in which the newcomer itself is computed; when it comes from RAM"
    print(f"| {label} | {own:.2f}; {again:.2f} | |", flush=True)
    about = f"of {rounds} rounds, {min(one[3] for one in found):.2f} to {max(one[3] for one in found):.2f}"
    label = f"10M: worst step of 3 others while {size} MB are written / normal p99"
    row(label, f"{written:.2f} (median {about})", "<= 1.5", written <= 1.5)


def gaps(
    loaded: LoadedModel, config: dict[str, Any], prompt: tuple[int, ...]
) -> tuple[float, float, float, float]:
    """Worst steps of three who decode, over their normal p99: while what a newcomer needs comes from disk and
    is put together; when the newcomer is computed too; the same when it comes from RAM; while it is written.
    """
    core = make(loaded, **config)
    for n in range(3):
        core.submit(request(f"d{n}", text(20 + n, 64), max_tokens=800, ignore_eos=True))
    while not core.calm:
        core.step()
    steps(core, 30)
    quiet = p99(steps(core, 100))
    core.submit(request("back", prompt, max_tokens=1, ignore_eos=True))
    # its only token is computed in one step and comes out of the next
    *coming, first, second = until_done(core, "back")
    core.submit(request("again", prompt, max_tokens=1, ignore_eos=True))
    again = until_done(core, "again")[-2:]
    for _ in range(20):
        core.step()
    before = p99(steps(core, 50))
    written = max(while_written(core), default=0.0) / before
    while core.busy:
        core.step()
    core.close()
    return max(coming) / quiet, max(first, second) / quiet, max(again) / quiet, written


def p99(times: list[float]) -> float:
    return float(np.percentile(times, 99))


def while_written(core: EngineCore) -> list[float]:
    """Seconds of the steps while the largest segment in RAM is written once more, under another name."""
    cache = core.reuse.cache
    assert cache.archive is not None
    segment = max(cache.ram.held.values(), key=lambda one: one.nbytes)
    record = Record(
        fingerprint="bench",
        model="bench",
        name=b"bench",
        parent=None,
        start=0,
        end=segment.end - segment.start,
        tokens=b"",
        size=0,
        checksum=b"",
        saved=0.0,
    )
    assert cache.archive.save(record, segment.kept)
    taken: list[float] = []
    while record.name in cache.archive.pending and core.busy:
        taken += steps(core, 1)
    return taken


def steps(core: EngineCore, count: int) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        core.step()
        times.append(time.perf_counter() - began)
    return times


def until_done(core: EngineCore, id: str) -> list[float]:
    """Seconds of the steps up to the one in which a request ends."""
    times: list[float] = []
    ended = False
    while not ended:
        began = time.perf_counter()
        events = core.step()
        times.append(time.perf_counter() - began)
        ended = any(isinstance(event, Finished | Failed) and event.id == id for event in events)
    return times


def bench_foreign(folder: Path) -> None:
    prompt = text(6, 1000)
    reused = 0
    for seed in (0, 1, 0, 1):
        core = make(model("10M", folder, seed), cache_dir=str(folder / "foreign"))
        end = ask(core, (*prompt, 1), answer=1).end if seed else ask(core, prompt, answer=1).end
        reused += end.cached_tokens if end.cache.tier != "disk" else 0
        core.close()
    row("two models, one folder: tokens reused across them", str(reused), "0", reused == 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--kinds", nargs="*", default=[BUNDLED_KIND, *KINDS])
    arguments = parser.parse_args()
    print("| measure | value | bar |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in arguments.kinds:
            loaded = model(kind, folder)
            bench_loop(kind, loaded, arguments.turns)
            bench_restart(kind, loaded, folder, min(arguments.tokens, loaded.info.context_length - 512))
            bench_crowd(kind, loaded, folder, max(3, arguments.turns // 5))
            bench_equal(kind, loaded, folder)
        bench_gap(model("10M", folder), folder, arguments.tokens // 2)
        bench_foreign(folder)
    bench_traces(arguments.turns)


if __name__ == "__main__":
    main()
