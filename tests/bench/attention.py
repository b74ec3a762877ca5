"""`make bench-attention`: forward passes with attention by numpy beside the library's own, in one process.

Prefill: the tokens of a turn over a context. Decode: steps of a batch, one after the other. The better of the
rounds, which alternate. For CPUs: on a GPU the engine replaces nothing.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.cpu.blas import prepare_blas

BLAS = prepare_blas("auto")  # before MLX is imported

import mlx.core as mx  # noqa: E402
import numpy as np  # noqa: E402
from mlx_lm.models.cache import make_prompt_cache  # noqa: E402
from mlx_lm.utils import load_model  # noqa: E402

from engine.cpu.attention import attend, library  # noqa: E402
from tests.bench.kinds import model_path  # noqa: E402

NEW = 165  # tokens of a turn in the loops of bench-sessions
CONTEXTS = (200, 1_400, 7_500)
BATCHES = ((1, 200), (1, 2_000), (8, 200), (8, 2_000))  # streams, and tokens of each
STEPS = 20
CHUNK = 256

Work = Callable[[list[Any]], mx.array]


def text(rows: int, tokens: int) -> mx.array:
    return mx.array(np.random.default_rng(tokens).integers(40, 120, (rows, tokens)))


def filled(model: Any, rows: int, context: int) -> list[Any]:
    """The caches of so many sequences of so many tokens."""
    caches = list(make_prompt_cache(model))
    tokens = text(rows, context)
    for start in range(0, context, CHUNK):
        model(tokens[:, start : start + CHUNK], cache=caches)
        mx.eval([layer.state for layer in caches])
    return caches


def beside(work: Work, caches: list[Any], rounds: int) -> tuple[float, float, float]:
    """Seconds of the library's way and of ours, and how far the results lie apart."""
    best, found = [float("inf")] * 2, [mx.array(0.0)] * 2
    for _ in range(rounds):
        for n, way in enumerate((library, attend)):
            mx.fast.scaled_dot_product_attention = way
            mine = copy.deepcopy(caches)
            mx.eval([layer.state for layer in mine])
            begun = time.perf_counter()
            found[n] = work(mine)
            mx.eval(found[n])
            best[n] = min(best[n], time.perf_counter() - begun)
    return best[0], best[1], float(mx.abs(found[0] - found[1]).max())


def prefill(model: Any) -> Work:
    return lambda caches: model(text(1, NEW), cache=caches)[:, -1]


def decode(model: Any, rows: int) -> Work:
    def work(caches: list[Any]) -> mx.array:
        logits = mx.array(0.0)
        for _ in range(STEPS):  # of the same tokens: both ways compute the same
            logits = model(text(rows, 1), cache=caches)[:, -1]
            mx.async_eval(logits)  # type: ignore[no-untyped-call]
        return logits

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=["bundled", "10M", "window", "hybrid"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"BLAS: {BLAS}; milliseconds, the better of {options.rounds}\n")
    print("| model | work | library | numpy | times as fast | logits apart |\n|---|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            model, _ = load_model(model_path(kind, Path(folder)))
            works = [(f"{NEW} tokens over {size}", prefill(model), 1, size) for size in CONTEXTS]
            works += [
                (f"{STEPS} steps of {rows} over {size}", decode(model, rows), rows, size)
                for rows, size in BATCHES
            ]
            for label, work, rows, size in works:
                theirs, ours, apart = beside(work, filled(model, rows, size), options.rounds)
                print(
                    f"| {kind} | {label} | {1e3 * theirs:.0f} | {1e3 * ours:.0f} | {theirs / ours:.2f} | "
                    f"{apart:.0e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
