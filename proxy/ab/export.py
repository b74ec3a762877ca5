"""The files of a run: every turn as CSV, everything as JSON, and the report."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from proxy.ab.measured import MeasuredTurn, Results, to_row
from proxy.ab.report import write_report
from proxy.ab.summary import Summary
from proxy.ab.verdicts import Comparison

REPORT, TURNS, RESULTS = "report.html", "turns.csv", "results.json"


def write_files(folder: Path, summary: Summary, results: Results) -> tuple[Path, ...]:
    """Writes the three files; each is whole or the one before. Raises OSError."""
    texts = {
        REPORT: write_report(summary, results),
        TURNS: turns_csv(results),
        RESULTS: json.dumps(to_json(summary, results), ensure_ascii=False, indent=1) + "\n",
    }
    return write_whole(folder, texts)


def write_whole(folder: Path, texts: Mapping[str, str]) -> tuple[Path, ...]:
    """Writes texts by file name. Each file is whole, or the one before. Raises OSError."""
    for name, text in texts.items():
        draft = folder / f".{name}"
        draft.write_text(text, "utf-8")
        os.replace(draft, folder / name)
    return tuple(folder / name for name in texts)


def turns_csv(results: Results) -> str:
    """A line for each turn, without the examples."""
    names = [one.name for one in fields(MeasuredTurn) if one.name != "example"]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(to_row(turn) for turn in results.turns)
    return out.getvalue()


def to_json(summary: Summary, results: Results) -> dict[str, Any]:
    """The findings and all that was measured, as JSON values."""
    return {
        "measured": summary.told,
        "began": summary.began,
        "machine": summary.machine,
        "command": summary.command,
        "notes": list(summary.notes),
        "arms": [asdict(one) for one in summary.facts],
        "ledger": dict(summary.recorded),
        "verdicts": [_verdict(one) for one in summary.comparisons],
        "sums": [asdict(one) for one in summary.sums.values()],
        "conversations": [to_row(one) for one in results.items],
        "turns": [to_row(one) for one in results.turns],
        "memory": [to_row(one) for one in results.memory],
    }


def _verdict(one: Comparison) -> dict[str, Any]:
    low, high = one.interval
    return {
        "measure": one.measure.name,
        "scale": str(one.measure.scale),
        "arms": [one.first, one.second],
        "streams": one.streams,
        "difference": one.size,
        "low": low if math.isfinite(low) else None,
        "high": high if math.isfinite(high) else None,
        "p": one.difference.p,
        "pairs": one.difference.pairs,
        "shown": one.shown,
        "conversations_needed": one.seeds,
        "words": one.words,
    }
