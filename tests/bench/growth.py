"""CPU time before first tokens as a conversation grows: `python -m tests.bench.cache growth [KIND ...]`.

The loop of bench-sessions in this process, through the core, on two engines in turns: one continues in the
buffers of the turn before, of the other they are dropped, so that each turn copies the conversation. CPU time
of all threads says something on a busy machine too, where the seconds of a server do not.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.model import load_model
from engine.types import Finished
from tests.bench.cache_sessions import ANSWER, make, text
from tests.bench.kinds import model_path
from tests.bench.operations import attention_layers, attention_seconds
from tests.engine.drive import request

TURNS = 40
SIZES = {"bundled": (850, 82)}  # tokens of the first prompt, and new ones in each turn beside the answer
OTHERS = (1250, 141)
ARMS = ("copied", "kept")


def measure(kind: str, folder: Path) -> None:
    """Prints two rows."""
    path = model_path(kind, folder)
    first, new = SIZES.get(kind, OTHERS)
    loaded = load_model(EngineConfig(model=str(path)), "")
    cores = {arm: make(loaded, cache_dir=str(folder / f"{kind}-{arm}")) for arm in ARMS}
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    prompt, sizes = text(1, first), []
    for turn in range(TURNS):
        sizes.append(len(prompt))
        answers = set()
        for arm in ARMS if turn % 2 else ARMS[::-1]:
            if arm == "copied":
                drop_buffers(cores[arm])
            seconds, answer = timed(cores[arm], prompt)
            times[arm].append(seconds)
            answers.add(answer)
        (answer,) = answers
        prompt = prompt + answer + text(1000 + turn, new)
    for core in cores.values():
        core.close()
    layers = attention_layers(path)
    alone = [attention_seconds(layers, new, size, time.process_time) for size in (sizes[3], sizes[-4])]
    for arm, each in times.items():
        early, late = (statistics.median(part) for part in (each[1:6], each[-7:]))
        attention = 1 + (alone[1] - alone[0]) / early
        found = f"{late * 1000:.0f} / {early * 1000:.0f} ms = {late / early:.2f} | {attention:.2f}"
        print(f"| {kind}, {sizes[3]:,} and {sizes[-4]:,} tokens, {arm} | {found}", end=" | ")
        print(f"{late / early / attention:.2f} | {statistics.mean(each[-20:]) * 1000:.0f} ms |", flush=True)


def drop_buffers(core: EngineCore) -> None:
    """The next turn is to copy what it knows."""
    ram = core.reuse.cache.ram
    for segment in list(ram.buffered.values()):
        ram.take_buffers(segment)


def timed(core: EngineCore, prompt: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
    """CPU seconds to the first token, and the answer; afterwards what is to be kept is written."""
    begun, seconds = time.process_time(), 0.0
    answer: tuple[int, ...] = ()
    core.submit(request("r", prompt, max_tokens=ANSWER, ignore_eos=True, session="s"))
    while core.busy:
        for event in core.step():
            seconds = seconds or time.process_time() - begun
            if isinstance(event, Finished):
                answer = event.completion
    while core.rest():
        pass
    assert core.reuse.cache.archive is not None
    core.reuse.cache.archive.flush(60)
    core.rest()
    return seconds, answer


def main(kinds: Sequence[str]) -> None:
    print(
        "| model | CPU time, last 7 turns / turns 2 to 6 | attention alone | of its growth | last 20, mean |"
    )
    print("|---|--:|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for kind in kinds or ("bundled", "10M", "window", "hybrid"):
            measure(kind, Path(name))
