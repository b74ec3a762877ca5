"""What a run found, for the terminal, the report and the JSON file alike."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy import __version__
from proxy.ab.measured import Results
from proxy.ab.measures import MEASURES, ArmSums, Scale, sum_up
from proxy.ab.plan import RunPlan
from proxy.ab.processes import ArmServer
from proxy.ab.verdicts import Comparison, compare, told

_PACKAGES = ("fortieth", "mlx", "mlx-lm", "transformers", "vllm-mlx", "rapid-mlx", "litellm")


@dataclass(frozen=True, slots=True)
class ArmFacts:
    """How an arm was run. command: as it was started; "" for a server that ran already."""

    label: str
    base_url: str
    model: str
    command: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """The findings. told: what was measured, in a sentence. notes: what a reader has to know first.

    command: what runs it again. sums: of each arm and number of conversations at a time.
    """

    arms: tuple[str, ...]
    levels: tuple[int, ...]
    told: str
    began: str
    machine: str
    command: str
    facts: tuple[ArmFacts, ...]
    sums: Mapping[tuple[str, int], ArmSums]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()
    recorded: Mapping[str, int] = field(default_factory=dict)


def facts_of(server: ArmServer) -> ArmFacts:
    """What is known of a server that was started, or found."""
    return ArmFacts(
        server.arm.label,
        server.base_url if server.process is None else "",
        server.model,
        shlex.join(server.command),
        dict(server.arm.settings),
        installed_versions(server.command),
    )


def installed_versions(command: Sequence[str]) -> dict[str, str]:
    """The versions of the packages in the environment of a program; of ours, where it is this one."""
    if not command:
        return {}
    folder = Path(command[0]).absolute().parent.parent
    found: dict[str, str] = {}
    for path in sorted(folder.glob("lib/python3*/site-packages/*.dist-info")):
        name, _, version = path.name.removesuffix(".dist-info").partition("-")
        if (plain := re.sub(r"[-_.]+", "-", name).lower()) in _PACKAGES:
            found[plain] = version
    return found


def machine() -> str:
    """The machine and the versions here, in a sentence."""
    memory = ""
    if "SC_PHYS_PAGES" in os.sysconf_names:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = f", {size / 2**30:.0f} GiB"
    versions = ", ".join(f"{name} {version}" for name, version in _versions_here())
    system = f"{platform.platform()}, {os.cpu_count()} cores{memory}"
    return f"{system}; Python {platform.python_version()}, {versions}"


def _versions_here() -> Iterator[tuple[str, str]]:
    yield "fortieth", __version__
    for name in ("mlx", "mlx-lm"):
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def summarise(plan: RunPlan, results: Results, kept: Mapping[str, Any], labels: Sequence[str]) -> Summary:
    """Sums a run up; the same results give the same summary. kept: what the store keeps beside them."""
    arms, levels = tuple(labels), results.levels
    sums = {(arm, streams): sum_up(results, arm, streams) for arm in arms for streams in levels}
    ask = plan.ask
    sampling = f"temperature {ask.temperature:g}, at most {ask.max_tokens} tokens an answer"
    played = ", ".join(f"{arm} {len([i for i in results.items if i.arm == arm])}" for arm in arms)
    return Summary(
        arms,
        levels,
        f"{kept.get('told', '')}; {sampling}. Conversations played: {played}.",
        str(kept.get("began", "")),
        str(kept.get("machine", "")),
        str(kept.get("command", "")),
        tuple(ArmFacts(**one) for one in kept.get("facts") or ()),
        sums,
        compare(results, arms) if len(arms) > 1 else (),
        tuple(kept.get("notes") or ()),
        kept.get("recorded") or {},
    )


def table_rows(summary: Summary, streams: int) -> Iterator[tuple[str, list[str]]]:
    """The table of one number of conversations at a time: a name, and a cell for each arm."""
    sums = [summary.sums[arm, streams] for arm in summary.arms]
    yield "conversations, turns", [f"{one.items}, {one.turns}" for one in sums]
    kinds = sorted({kind for one in sums for kind in one.delivered})
    yield (
        "delivered",
        [
            ", ".join(f"{one.delivered.get(kind)} {kind}" for kind in kinds if one.delivered.get(kind))
            for one in sums
        ],
    )
    for measure in MEASURES:
        cells = [told(measure, one) for one in sums]
        if measure.scale is Scale.share and measure.name != "prompt tokens reused":
            cells = [
                f"{cell} ({one.interval(measure.name)[0]:.1%} to {one.interval(measure.name)[1]:.1%})"
                if cell != "not measured"
                else cell
                for cell, one in zip(cells, sums, strict=True)
            ]
        yield measure.name, cells
    yield "attempts of the model", ["not told" if one.attempts is None else str(one.attempts) for one in sums]
    yield (
        "memory at most",
        ["not known" if one.memory is None else f"{one.memory / 2**20:.0f} MiB" for one in sums],
    )
    early = [", ".join(f"{count} {why}" for why, count in one.ended.items() if why != "done") for one in sums]
    if any(early):
        yield "conversations that ended early", [cell or "none" for cell in early]
