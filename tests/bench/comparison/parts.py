"""The parts of the comparison in the order of their worth, each a run of `fortieth ab`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.resolve import BUNDLED, bundled
from proxy.ab.worlds import world_workload

GUARDS = ("full", "repair", "constrain", "off")
BITS = {"4": BUNDLED[2], "8": BUNDLED[1], "full": BUNDLED[0]}
LOOPS, TURNS = 20, 40
LEAST_LOOPS = 7  # can show a difference with 95%
OTHER_LOOPS, OTHER_TURNS = LEAST_LOOPS + 1, 20  # one may fail
MAX_TOKENS = 512
#: of the bundled model, in the order in which they are played: bits, temperature, loops at a time
_BUNDLED_PARTS = (
    ("4", 1.5, 8),
    ("4", 1.5, 1),
    ("8", 1.5, 8),
    ("full", 1.5, 8),
    ("4", 0.7, 8),
    ("8", 0.7, 8),
    ("full", 0.7, 8),
    ("8", 1.5, 1),
    ("full", 1.5, 1),
    ("4", 0.7, 1),
    ("8", 0.7, 1),
    ("full", 0.7, 1),
)


@dataclass(frozen=True, slots=True)
class NamedArm:
    """An arm of `fortieth ab`. name: in tables. program: what has to be there for it; None for what is."""

    name: str
    arm: str
    program: Path | None = None

    @property
    def is_there(self) -> bool:
        return self.program is None or self.program.exists()


@dataclass(frozen=True, slots=True)
class Part:
    """One run of `fortieth ab`.

    key: its folder.
    title: in the page.
    arms: the first one is what the others are compared with.
    options: of `fortieth ab`, besides the arms.
    conversations: of each arm.
    last_turn: the tool turn that a loop has to reach unbroken; 0 where conversations are no loops.
    why_not: why it cannot be played here; "" where it can.
    """

    key: str
    title: str
    arms: tuple[NamedArm, ...]
    options: tuple[str, ...]
    conversations: int
    last_turn: int = 0
    why_not: str = ""

    @property
    def present(self) -> tuple[NamedArm, ...]:
        return tuple(arm for arm in self.arms if arm.is_there)

    def command(self, folder: Path, going_on: bool) -> list[str]:
        """The command line that plays it, or goes on with it."""
        base = [sys.executable, "-m", "proxy", "ab"]
        if going_on:
            return [*base, "--resume", str(folder)]
        return [*base, *(arm.arm for arm in self.present), *self.options, "--out", str(folder)]


def parts(rivals: Path, second: Path | None) -> tuple[Part, ...]:
    """All parts, the one that tells most first.

    rivals: folder with a folder for each rival, whose programs are in its `bin`.
    second: folder with another model (qwen05, and qwen05.gguf for llama.cpp); None for none.
    """
    first, *rest = (_bundled(rivals, *one) for one in _BUNDLED_PARTS)
    return (first, _corpus(rivals), rest[0], *_other(rivals, second), *rest[1:])


def _bundled(rivals: Path, bits: str, temperature: float, streams: int) -> Part:
    ours = tuple(NamedArm(f"fortieth {guard}", f"bundled:bits={bits},guard={guard}") for guard in GUARDS)
    told = "full precision" if bits == "full" else f"{bits} bits"
    at_once = "one loop at a time" if streams == 1 else f"{streams} loops at a time"
    return Part(
        f"bundled-{bits}-{temperature:g}-{streams}",
        f"The bundled model, {told}, temperature {temperature:g}, {at_once}",
        (*ours, *_rivals(rivals)),
        _options(str(bundled(BITS[bits])), temperature, streams, LOOPS, TURNS),
        LOOPS,
        TURNS,
    )


def _rivals(folder: Path) -> Iterator[NamedArm]:
    yield NamedArm("mlx_lm.server", "mlx-lm")
    for name in ("vllm-mlx", "rapid-mlx"):
        place = folder / name / "bin"
        yield NamedArm(name, f"{name}:bin={place}", place / name)


def _options(model: str, temperature: float, streams: int, loops: int, turns: int) -> tuple[str, ...]:
    given = {
        "--model": model,
        "--temperature": f"{temperature:g}",
        "--concurrency": str(streams),
        "--seeds": str(loops),
        "--turns": str(turns),
        "--max-tokens": str(MAX_TOKENS),
    }
    return tuple(word for pair in given.items() for word in pair)


def _corpus(rivals: Path) -> Part:
    """Only what can stand before a scripted model can be an arm."""
    proxy = rivals / "litellm" / "bin" / "litellm"
    # it starts without a key of its own only where it is told to, and asks nobody without one
    allowed = "env OPENAI_API_KEY=none LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY=true"
    command = f"{allowed} {proxy} --model openai/corrupted-outputs --api_base {{upstream}} --port {{port}}"
    ours = tuple(
        NamedArm(f"fortieth {guard}", f"bundled:guard={guard}") for guard in GUARDS if guard != "constrain"
    )
    return Part(
        "corrupted",
        "The corpus of corrupted outputs, written by a scripted model behind each arm",
        (*ours, NamedArm("LiteLLM's proxy", command, proxy)),
        ("--workload", "corrupted", "--seeds", "10000", "--concurrency", "8"),
        0,
    )


def _other(rivals: Path, second: Path | None) -> Iterator[Part]:
    model = str(second / "qwen05") if second else ""
    gguf = str(second / "qwen05.gguf") if second else ""
    server = rivals / "llama-cpp" / "bin" / "llama-server"
    command = f"{server} --model {gguf} --port {{port}} --jinja"
    arms = (
        *(NamedArm(f"fortieth {guard}", f"{model}:guard={guard}") for guard in GUARDS),
        *_rivals(rivals),
        NamedArm("llama.cpp", command, server),
    )
    why_not = "" if second and (second / "qwen05").is_dir() else "its model is not on this machine (SECOND)"
    for streams in (OTHER_LOOPS, 1):
        at_once = "one loop at a time" if streams == 1 else f"{streams} loops at a time"
        yield Part(
            f"other-0.7-{streams}",
            f"Qwen2.5-Coder-0.5B-Instruct in float16, temperature 0.7, {at_once}",
            arms,
            _options(model, 0.7, streams, OTHER_LOOPS, OTHER_TURNS),
            OTHER_LOOPS,
            OTHER_TURNS,
            why_not,
        )


def turns_of(part: Part) -> int:
    """Requests of each arm, about; 0 for the corpus, whose requests take no time worth telling."""
    if not part.last_turn:
        return 0
    return sum(item.turns for item in world_workload(part.conversations, part.last_turn).items)


def missing_arms(part: Part) -> Sequence[str]:
    """The names of arms whose programs are not here."""
    return [arm.name for arm in part.arms if not arm.is_there]
