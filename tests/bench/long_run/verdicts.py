"""What the long run is held to: each bar with what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.bench.long_run.agents import Tally
from tests.bench.long_run.dialects import DIALECTS
from tests.bench.long_run.fleet import ServerUnderTest
from tests.bench.long_run.samples import Growth, Row, growth, series

MEMORY = ("server_memory", "engine_memory")
COUNTS = ("server_handles", "engine_handles", "server_threads", "engine_threads")
_LIMITS = (("cache_ram", "cache_ram_limit"), ("cache_disk", "cache_disk_limit"), ("ledger", "ledger_limit"))
# The cache's own files beside its entries, as docs/cache.md counts them.
_OVER = 1.02


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar. met: None where the run was too short to tell."""

    name: str
    found: str
    met: bool | None

    def __str__(self) -> str:
        return f"{'??' if self.met is None else 'ok' if self.met else 'MISSED'}: {self.name}: {self.found}"


def bars(tally: Tally, servers: Sequence[ServerUnderTest], rows: Sequence[Row], steady: float) -> list[Bar]:
    """All of them. steady: the seconds from which on a server's memory may not grow any more."""
    found = [*_of_answers(tally), *_of_coverage(tally, servers)]
    for server in servers:
        found += _of_processes(server)
        found += [
            one for column in (*MEMORY, *COUNTS) for one in _of_growth(rows, server.name, column, steady)
        ]
        found += _of_limits(rows, server.name)
    return found


def _of_answers(tally: Tally) -> Iterator[Bar]:
    turns, requests = tally.of("turn"), sum(n for (_, kind), n in tally.endings.items() if kind in _ENDINGS)
    for ending, told in (
        ("broken", f"broken calls delivered, of {turns} turns"),
        (
            "other calls",
            f"valid calls that the corrupted model did not mean, of {tally.of('valid calls', 'upstream')}",
        ),
        ("lost", f"requests without an answer and without a clear error, of {requests}"),
        ("not recovered", f"turns that no asking again brought back, of {turns}"),
    ):
        count = tally.of(ending)
        yield Bar(told, str(count), count == 0)
    count = tally.of("error", "engine")
    yield Bar("errors of the bundled engine while nothing was done to it", str(count), count == 0)


_ENDINGS = ("answered", "left", "lost", "cut", "error", "error, disturbed", "context full")


def _of_coverage(tally: Tally, servers: Sequence[ServerUnderTest]) -> Iterator[Bar]:
    """A run in which something never happened shows nothing of it."""
    least = min(
        (
            tally.answered[server.name, dialect, stream]
            for server in servers
            for dialect in DIALECTS
            for stream in (True, False)
        ),
        default=0,
    )
    yield Bar("answers of each server in each API, streamed and not, at least", str(least), least > 0)
    for ending in ("left", "turn after a rest"):
        yield Bar(f"{ending}: happened", str(tally.of(ending)), tally.of(ending) > 0)
    deeds = [one for server in servers for one in server.disturbances]
    back = [one.back - one.began for one in deeds if one.back is not None]
    told = f"{len(back)} of {len(deeds)}" + (f", the slowest after {max(back):.1f} s" if back else "")
    yield Bar("servers that came back after what was done to them", told, len(back) == len(deeds) > 0)


def _of_processes(server: ServerUnderTest) -> Iterator[Bar]:
    yield Bar(f"{server.name}: processes left behind", str(len(server.left)), not server.left)
    log = server.log.read_text("utf-8", "replace") if server.log.exists() else ""
    traces = log.count("Traceback (most recent call last)")
    yield Bar(f"{server.name}: tracebacks in the log", str(traces), traces == 0)
    yield Bar(f"{server.name}: what no server may do", "; ".join(server.wrong) or "none", not server.wrong)


def _of_growth(rows: Sequence[Row], server: str, column: str, steady: float) -> Iterator[Bar]:
    points = series(rows, server, column, steady)
    if len(points) < 2:
        return
    found = growth(points)
    name = f"{server}: growth of {column.replace('_', ' ')} in an hour"
    yield Bar(name, told(found, column in MEMORY), found.is_flat if found.is_judged else None)


def told(found: Growth, is_memory: bool) -> str:
    """A growth as people read it."""
    scale, unit = (2**20, " MiB") if is_memory else (1, "")
    level, an_hour = found.level / scale, found.an_hour / scale
    figures = (
        f"{an_hour:+.1f}{unit} ({found.low / scale:+.1f} to {found.high / scale:+.1f}) of {level:.0f}{unit}"
    )
    return figures if found.is_judged else f"{figures}, but watched for {found.seconds:.0f} s only"


def _of_limits(rows: Sequence[Row], server: str) -> Iterator[Bar]:
    for column, limit in _LIMITS:
        held, limits = series(rows, server, column), series(rows, server, limit)
        if held and limits and limits[-1][1] > 0:
            most, allowed = max(value for _, value in held), limits[-1][1]
            told = f"{most / 2**20:.1f} of {allowed / 2**20:.1f} MiB at most"
            yield Bar(f"{server}: {column.replace('_', ' ')} within its limit", told, most <= allowed * _OVER)
