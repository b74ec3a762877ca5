"""The report of a run: one HTML page that asks for nothing from anywhere, with its charts drawn in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from proxy.ab.charts import card, swatch
from proxy.ab.curves import charts_of
from proxy.ab.measured import MeasuredTurn, Results
from proxy.ab.summary import ArmFacts, Summary, table_rows

EXAMPLES = 5  # of each kind of failure and arm
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_report(summary: Summary, results: Results) -> str:
    """The page."""
    title = f"A/B: {' against '.join(summary.arms)}" if len(summary.arms) > 1 else summary.arms[0]
    told = {"machine": summary.machine, "command": summary.command, "began": summary.began}
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">{escape(summary.told)}</p>',
        *_notes(summary),
        *_verdicts(summary),
        *_levels(summary, results),
        _failures(summary, results),
        provenance(told, summary.facts, "Every turn is in turns.csv, results.json and results.sqlite."),
    ]
    return page(title, "\n".join(body))


def page(title: str, body: str) -> str:
    """A page that loads nothing: its style stands in it, and its policy forbids the rest. body: HTML."""
    style = Path(__file__).with_name("report.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="content-security-policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body><main>{body}</main></body></html>\n"
    )


def _notes(summary: Summary) -> Iterator[str]:
    for note in summary.notes:
        yield f'<p class="shown">{escape(note)}</p>'


def _verdicts(summary: Summary) -> Iterator[str]:
    if len(summary.arms) < 2:
        return
    shown = [one for one in summary.comparisons if one.shown]
    rest = [one for one in summary.comparisons if not one.shown]
    yield "<h2>What the run shows</h2>"
    if not shown:
        yield '<p class="shown">No difference shown.</p>'
    yield _listed((_at(one.streams, summary) + one.words for one in shown), "found shown")
    yield _listed((_at(one.streams, summary) + one.words for one in rest), "found")
    yield f'<p class="quiet">{escape(METHOD)}</p>'


METHOD = (
    "Each conversation is one pair: the same seed on each arm. A difference is claimed where its 95% "
    "bootstrap interval lies on one side of 0 and a randomisation test of its signs agrees, corrected for "
    "the number of tests; of times, where the interval also leaves out every ratio up to 1.05. One judge "
    "decides what is broken, by the answer alone."
)


def _at(streams: int, summary: Summary) -> str:
    return f"{streams} at a time: " if len(summary.levels) > 1 else ""


def _listed(lines: Iterator[str], kind: str) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def _levels(summary: Summary, results: Results) -> Iterator[str]:
    for streams in summary.levels:
        name = "one conversation at a time" if streams == 1 else f"{streams} conversations at a time"
        yield f"<h2>Figures, {name}</h2>"
        yield figures_table(summary.arms, table_rows(summary, streams))
        yield legend(summary.arms)
        charts = charts_of(results, summary.arms, streams)
        yield f'<div class="cards">{"".join(map(card, charts))}</div>'


def figures_table(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table that scrolls where it is too wide. rows: each has a name and a cell for each column."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, cells in rows
    )
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Figures"><table class="figures"><thead><tr>'
        f"<td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def legend(arms: Sequence[str]) -> str:
    """Which line is whose."""
    items = "".join(f"<li>{swatch(at)}{escape(arm)}</li>" for at, arm in enumerate(arms))
    return f'<ul class="legend">{items}</ul>'


def _failures(summary: Summary, results: Results) -> str:
    parts = ["<h2>Kinds of failure</h2>"]
    for arm in summary.arms:
        kinds: dict[str, list[MeasuredTurn]] = defaultdict(list)
        for turn in results.turns:
            if turn.arm == arm and (not turn.usable or turn.example):
                kinds[f"{turn.delivered}: {turn.flaw}"].append(turn)
        parts.append(f"<h3>{escape(arm)}</h3>")
        if not kinds:
            parts.append('<p class="quiet">None.</p>')
        for kind, turns in sorted(kinds.items(), key=lambda pair: (-len(pair[1]), pair[0])):
            shown = "".join(map(_example, turns[:EXAMPLES]))
            more = f", {EXAMPLES} of them shown" if len(turns) > EXAMPLES else ""
            parts.append(f"<details><summary>{escape(kind)} ({len(turns)}{more})</summary>{shown}</details>")
    return "".join(parts)


def _example(turn: MeasuredTurn) -> str:
    where = (
        f"{turn.item}, request {turn.number}, {turn.streams} at a time, finish reason {turn.finish or 'none'}"
    )
    return f"<p>{escape(where)}</p><pre>{escape(turn.example or turn.flaw)}</pre>"


def provenance(told: Mapping[str, str], facts: Sequence[ArmFacts], where: str) -> str:
    """Machine, commands and versions. told: machine, command, began. where: the files of the figures."""
    arms = "".join(map(_arm_facts, facts))
    return (
        f"<h2>What was run</h2><p>{escape(told['machine'])}</p><pre>{escape(told['command'])}</pre>{arms}"
        f'<p class="quiet">Begun {escape(told["began"])}. {escape(where)}</p>'
    )


def _arm_facts(facts: ArmFacts) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    lines = [facts.command or facts.base_url, *(f"{key} = {value}" for key, value in facts.settings.items())]
    told = "\n".join([*lines, *([versions] if versions else [])])
    return f"<h3>{escape(facts.label)}</h3><pre>{escape(told)}</pre>"
