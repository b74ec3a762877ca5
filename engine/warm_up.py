"""Computes the usual sizes once before the first request, on a GPU.

It compiles kernels and plans attention when it first needs them, which would be a part of the first answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import msgspec

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.model import LoadedModel
from engine.types import GenerateRequest, SamplingParams

log = logging.getLogger(__name__)

WARM_S = (
    10.0  # after which no further step is begun: who waits for an engine that wakes up waits for this too
)
PROMPTS = (64, 128, 256, 512, 1024, 2048)  # tokens
TOGETHER = (2, 4, 8)
ANSWER = 4  # tokens


def warm_up(model: LoadedModel, config: EngineConfig, limit_s: float = WARM_S) -> int:
    """Runs prompts of the usual sizes, alone and together, through an engine of its own, whose counts and
    caches are dropped. Returns how many requests have ended; 0 on a CPU, where nothing is prepared. May raise
    anything that MLX raises.
    """
    if model.info.device == "cpu":
        return 0
    began, ended = time.monotonic(), 0
    core = EngineCore(model, msgspec.structs.replace(config, cache_ram=0, cache_dir=None))
    for cohort in cohorts(model.info.context_length):
        for request in cohort:
            core.submit(request)
        while core.busy and time.monotonic() - began < limit_s:
            core.step()
        if core.busy:
            break
        ended += len(cohort)
    core.wind_up()
    core.close()
    core.release()
    log.info("%d requests for the first shapes in %.1f s", ended, time.monotonic() - began)
    return ended


def cohorts(context: int) -> Iterator[list[GenerateRequest]]:
    """What is asked, in turn, as far as the context has room for it."""
    rows = [(size, 1) for size in PROMPTS] + [(PROMPTS[0], together) for together in TOGETHER]
    for size, count in rows:
        if size + ANSWER < context:
            yield [asked(f"{n} of {count} x {size}", size, temperature=n % 2) for n in range(count)]


def asked(id: str, size: int, temperature: float) -> GenerateRequest:
    sampling = SamplingParams(max_tokens=ANSWER, temperature=temperature, seed=0, ignore_eos=True)
    return GenerateRequest(id=id, prompt=(0,) * size, sampling=sampling, ephemeral=True)
