"""What a serving benchmark found: table, CSV, JSON, SQLite and one HTML page."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from proxy.ab.charts import Chart, Line, card
from proxy.ab.export import write_whole
from proxy.ab.report import figures_table, legend, page, provenance
from proxy.ab.serving import ServingFigures
from proxy.ab.summary import ArmFacts

COLUMNS = (
    "at a time", "prompt tokens", "requests/s", "output tokens/s", "TTFT ms (p99)", "TPOT ms (p99)",
    "ITL ms (p99)", "E2EL ms (p99)", "reused", "TTFT of a second turn",
)  # fmt: skip


SHORT = ("at a time", "prompt", "tokens/s", "TTFT", "TPOT", "E2EL", "reused", "2nd TTFT")


def to_short_rows(found: Sequence[ServingFigures]) -> list[tuple[str, list[str]]]:
    """What a terminal has room for, under SHORT: medians, in milliseconds."""
    rows = []
    for (arm, cells), one in zip(to_rows(found), found, strict=True):
        medians = [
            f"{held['median']:.0f} ms" if held else "none" for held in (one.ttft_ms, one.tpot_ms, one.e2el_ms)
        ]
        rows.append((arm, [cells[0], cells[1], cells[3], *medians, cells[-2], cells[-1]]))
    return rows


def to_rows(found: Sequence[ServingFigures]) -> list[tuple[str, list[str]]]:
    """A row for each cell: the arm, and what stands under COLUMNS."""
    return [(one.arm, _cells(one)) for one in found]


def _cells(one: ServingFigures) -> list[str]:
    times = [one.ttft_ms, one.tpot_ms, one.itl_ms, one.e2el_ms]
    return [
        str(one.max_concurrency),
        str(one.prompt_tokens),
        f"{one.request_throughput:.2f}" + (f" ({one.failed} failed)" if one.failed else ""),
        f"{one.output_throughput:.1f}",
        *(f"{held['median']:.1f} ({held['p99']:.1f})" if held else "none" for held in times),
        "not told" if one.reused is None else f"{one.reused:.1%}",
        "none" if one.warm_ttft_ms is None else f"{one.warm_ttft_ms:.1f} ms",
    ]


def flat(one: ServingFigures) -> dict[str, Any]:
    """The figures with the names of `vllm bench serve`: `mean_ttft_ms`, `p99_itl_ms`."""
    row: dict[str, Any] = {}
    for name, value in asdict(one).items():
        if isinstance(value, Mapping):
            row |= {f"{part}_{name}": value.get(part) for part in ("mean", "median", "p90", "p99")}
        else:
            row[name] = value
    return row


def write_serving(
    folder: Path, found: Sequence[ServingFigures], facts: Sequence[ArmFacts], told: Mapping[str, str]
) -> tuple[Path, ...]:
    """Writes the four files. told: command, machine, began. Raises OSError, sqlite3.Error."""
    rows = [flat(one) for one in found]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    held = {**told, "arms": [asdict(one) for one in facts], "results": rows}
    texts = {
        "bench.html": _page(found, facts, told),
        "bench.csv": out.getvalue(),
        "bench.json": json.dumps(held, ensure_ascii=False, indent=1) + "\n",
    }
    files = write_whole(folder, texts)
    database = folder / "bench.sqlite"
    database.unlink(missing_ok=True)
    with closing(sqlite3.connect(database)) as connection, connection:
        names = ", ".join(f'"{name}"' for name in rows[0])
        connection.execute(f"CREATE TABLE results ({names})")
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO results VALUES ({marks})", [tuple(row.values()) for row in rows])
    return (*files, database)


def _page(found: Sequence[ServingFigures], facts: Sequence[ArmFacts], told: Mapping[str, str]) -> str:
    arms = list(dict.fromkeys(one.arm for one in found))
    cards = "".join(map(card, _charts(found, arms)))
    title = f"Serving benchmark: {', '.join(arms)}"
    body = [
        f"<h1>{escape(title)}</h1>",
        figures_table(COLUMNS, to_rows(found)),
        legend(arms),
        f'<div class="cards">{cards}</div>',
        provenance(told, facts, "Every figure is in bench.csv, bench.json and bench.sqlite."),
    ]
    return page(title, "\n".join(body))


def _charts(found: Sequence[ServingFigures], arms: Sequence[str]) -> Iterator[Chart]:
    """Throughput and first tokens over requests at a time, one chart for each length of prompt."""
    lengths = sorted({one.wanted_prompt for one in found})
    for length in lengths:
        cells = [[one for one in found if one.arm == arm and one.wanted_prompt == length] for arm in arms]
        rates = tuple(
            Line(arm, at, tuple((one.max_concurrency, one.output_throughput) for one in cells[at]))
            for at, arm in enumerate(arms)
        )
        firsts = tuple(
            Line(
                arm,
                at,
                tuple(
                    (one.max_concurrency, one.ttft_ms["median"] / 1000) for one in cells[at] if one.ttft_ms
                ),
            )
            for at, arm in enumerate(arms)
        )
        yield Chart(f"Output tokens a second, prompts of {length}", "requests at a time", "tokens/s", rates)
        yield Chart(f"Time to first token, prompts of {length}", "requests at a time", "median", firsts, "s")
