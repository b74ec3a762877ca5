"""What the library does by itself: `python -m tests.bench.bare MODEL MEASURE NUMBER...`, JSON.

N, TOKENS and PROMPT are the numbers of all but the last:

decode: tokens a second of a bare BatchGenerator loop with N prompts of PROMPT tokens: while all of them
decode, and with their prefill. constrained: the median step of an engine with N streams under a grammar, over
that of the same streams without one. turns: see there.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.cpu.blas import keep_float32, prepare_blas

PROMPT_TOKENS = 32
GRAMMAR = "start: %json " + json.dumps(
    {
        "type": "array",
        "minItems": 10000,
        "items": {
            "type": "object",
            "properties": {
                "path": {"type": "string", "minLength": 20},
                "lines": {"type": "array", "items": {"type": "integer"}, "minItems": 3},
                "mode": {"enum": ["read", "write", "append"]},
            },
            "required": ["path", "lines", "mode"],
            "additionalProperties": False,
        },
        "x-guidance": {"whitespace_flexible": False},
    }
)


def decode(model: Path, streams: int, tokens: int, prompt: int) -> tuple[float, float]:
    """Tokens a second while all decode, and prefill included; of the second of two rounds."""
    import mlx.core as mx
    from mlx_lm.generate import BatchGenerator
    from mlx_lm.utils import load

    network, _ = load(str(model))
    rates = 0.0, 0.0
    for count in (16, tokens):
        generator = BatchGenerator(network, sampler=lambda logprobs: mx.argmax(logprobs, axis=-1))
        began = time.perf_counter()
        prompts = [[32 + (n * 7 + k * 13) % 95 for k in range(prompt)] for n in range(streams)]
        generator.insert(prompts, max_tokens=[count] * streams)
        open_, made, early, full = streams, 0, 0, began
        while open_:
            responses = generator.next()[1]
            made += len(responses)
            open_ -= sum(response.finish_reason is not None for response in responses)
            if full == began and len(responses) == streams:
                full, early = time.perf_counter(), made
        ended = time.perf_counter()
        rates = (made - early) / (ended - full), made / (ended - began)
        generator.close()
    return rates


def turns(model: Path, count: int, new: int, first: int, between: int) -> list[float]:
    """Seconds of `new` tokens computed in one pass behind a conversation that grows, to the token that is
    picked behind them; turn by turn, of the second of two such loops.

    first: tokens before the first turn. between: further tokens after each turn.
    """
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache
    from mlx_lm.utils import load

    network, _ = load(str(model))
    took: list[float] = []
    for _ in range(2):
        cache, took = make_prompt_cache(network), []

        def run(tokens: int, cache: list[Any] = cache) -> None:
            for start in range(0, tokens, 2048):  # the library's own chunks
                size = min(2048, tokens - start)
                chunk = mx.array([[97 + k * 13 % 26 for k in range(size)]])
                picked = mx.argmax(network(chunk, cache=cache)[:, -1], axis=-1)
                mx.eval(picked, [layer.state for layer in cache])

        run(first)
        for _ in range(count):
            began = time.perf_counter()
            run(new)
            took.append(time.perf_counter() - began)
            run(between)
    return took


def constrained(model: Path, streams: int, tokens: int, prompt: int) -> float:
    """Seconds of a step with a grammar on every stream, over the same without; in turns. Where a step
    has computed several tokens of each stream, its seconds for one of them.
    """
    from engine.config import EngineConfig
    from engine.core import EngineCore
    from engine.model import load_model
    from engine.types import GenerateRequest, SamplingParams

    loaded = load_model(EngineConfig(model=str(model)), "")

    def steps(grammar: str | None) -> list[float]:
        core = EngineCore(loaded, EngineConfig(model=str(model), max_batch=max(16, streams)))
        for n in range(streams):
            ids = tuple(32 + (n * 7 + k * 13) % 95 for k in range(prompt))
            sampling = SamplingParams(max_tokens=tokens, ignore_eos=True)
            core.submit(GenerateRequest(id=str(n), prompt=ids, sampling=sampling, grammar=grammar))
        took: list[float] = []
        while core.busy:
            began, before = time.perf_counter(), core.stats().tokens_generated
            core.step()
            seconds, made = time.perf_counter() - began, core.stats().tokens_generated - before
            if core.stats().batch_size == streams:
                took.append(seconds * streams / made)
        return took[3:]

    steps(GRAMMAR)
    rounds = [{"with": steps(GRAMMAR), "without": steps(None)} for _ in range(3)]
    least = {name: min(statistics.median(one[name]) for one in rounds) for name in ("with", "without")}
    return float(least["with"] / least["without"])


def watched(model: Path, streams: int, tokens: int, prompt: int) -> list[float]:
    """CPU seconds of the same sampled texts watched for repetition, over those not watched; round by round.
    tokens: of each text, more than it takes until it is looked at. Only the steps from there on count.
    """
    from engine.config import EngineConfig
    from engine.core import EngineCore
    from engine.model import load_model
    from engine.repetition import TOKENS
    from engine.types import GenerateRequest, SamplingParams

    loaded = load_model(EngineConfig(model=str(model)), "")

    def seconds(watch: bool) -> float:
        core = EngineCore(loaded, EngineConfig(model=str(model), max_batch=max(16, streams)))
        for n in range(streams):
            ids = tuple(32 + (n * 7 + k * 13) % 95 for k in range(prompt))
            sampling = SamplingParams(max_tokens=tokens, temperature=1.0, seed=n, stop_repetition=watch)
            core.submit(GenerateRequest(id=str(n), prompt=ids, sampling=sampling))
        until = streams * TOKENS.least
        while core.stats().tokens_generated < until:
            core.step()
        began = time.process_time()
        while core.busy:
            core.step()
        return time.process_time() - began

    seconds(True)
    ratios = []
    for number in range(4):
        took = {watch: seconds(watch) for watch in ((True, False) if number % 2 else (False, True))}
        ratios.append(took[True] / took[False])
    return ratios


def main() -> None:
    model, what, *numbers = sys.argv[1:]
    keep_float32()
    prepare_blas("auto")
    measures: dict[str, Callable[..., Any]] = {
        "decode": decode,
        "turns": turns,
        "constrained": constrained,
        "watched": watched,
    }
    print(json.dumps(measures[what](Path(model), *(int(number) for number in numbers))))


if __name__ == "__main__":
    main()
