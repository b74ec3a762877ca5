"""The page of a long run: verdicts, what was done and what came of it, and everything over time."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from proxy.ab.charts import Chart, Line, card
from proxy.ab.report import figures_table, legend, page
from tests.bench.long_run.agents import Tally
from tests.bench.long_run.fleet import ServerUnderTest
from tests.bench.long_run.samples import Row, series
from tests.bench.long_run.verdicts import Bar

POINTS = 240  # of a line
_CHARTS = (
    ("Memory of the server's process", "server_memory", "MiB", 2**20),
    ("Memory of the engine's process", "engine_memory", "MiB", 2**20),
    ("Handles of the server", "server_handles", "handles", 1),
    ("Handles of the engine", "engine_handles", "handles", 1),
    ("Threads of the server", "server_threads", "threads", 1),
    ("Threads of the engine", "engine_threads", "threads", 1),
    ("Prefix cache in RAM", "cache_ram", "MiB", 2**20),
    ("Prefix cache on disk", "cache_disk", "MiB", 2**20),
    ("Ledger", "ledger", "MiB", 2**20),
    ("Requests under way", "in_flight", "requests", 1),
    ("Turns answered so far", "turns", "turns", 1),
    ("Requests asked again so far", "asked_again", "requests", 1),
    ("Broken calls and lost requests so far", "wrong", "number", 1),
    ("Restarts, kills and outages so far", "deeds", "number", 1),
)


def write_page(
    told: str, found: Sequence[Bar], tally: Tally, servers: Sequence[ServerUnderTest], rows: Sequence[Row]
) -> str:
    """The page; it loads nothing from anywhere."""
    names = [server.name for server in servers]
    missed = sum(one.met is False for one in found)
    heading = "Every bar is met" if not missed else f"{missed} bars are missed"
    bars = [(one.name, [one.found, _word(one.met)]) for one in found]
    kinds = sorted({kind for _, kind in tally.endings})
    endings = [(kind, [str(tally.endings[name, kind]) for name in names]) for kind in kinds]
    charts = [_chart(rows, names, *one) for one in _CHARTS]
    body = [
        f'<h1>Long run</h1><p class="quiet">{escape(told)}</p>',
        f'<p class="shown">{heading}.</p>',
        figures_table(("found", ""), bars),
        "<h2>Over time</h2>",
        legend(names),
        f'<div class="cards">{"".join(map(card, charts))}</div>',
        "<h2>How requests ended</h2>",
        figures_table(names, endings),
        "<h2>What was done</h2>",
        figures_table(("seconds until it answered again", "requests under way"), _deeds(servers)),
        _listed("Errors while nothing was done to the server", [
            f"{count} x {name}: {said}" for (name, said), count in tally.errors.most_common(20)
        ]),
        _listed("What no client may get", tally.wrong),
    ]  # fmt: skip
    return page("Long run", "\n".join(body))


def _word(met: bool | None) -> str:
    return {True: "met", False: "missed", None: "too short to tell"}[met]


def _listed(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines) or "<li>none</li>"
    return f"<h2>{escape(title)}</h2><ul>{items}</ul>"


def _deeds(servers: Sequence[ServerUnderTest]) -> list[tuple[str, list[str]]]:
    found = sorted((one.began, server.name, one) for server in servers for one in server.disturbances)
    return [
        (
            f"{name}: {one.deed}",
            [f"{one.back - one.began:.1f}" if one.back else "never", str(one.asked)],
        )
        for _, name, one in found
    ]


def _chart(
    rows: Sequence[Row], servers: Sequence[str], title: str, column: str, unit: str, scale: int
) -> Chart:
    lines = []
    for number, server in enumerate(servers):
        points = series(rows, server, column)
        kept = points[:: max(1, len(points) // POINTS)]
        lines.append(Line(server, number, tuple((at / 60, value / scale) for at, value in kept)))
    return Chart(title, "minutes", unit, tuple(lines))
