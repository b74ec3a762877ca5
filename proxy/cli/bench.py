"""`fortieth bench`: how fast servers answer, at a sweep of concurrency and prompt length."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from proxy.ab import API_KEY
from proxy.cli.exits import failures_told

_Servers = Annotated[
    list[str],
    typer.Argument(metavar="SERVER...", help="One or more, named as the arms of `fortieth ab`."),
]
_Model = Annotated[
    str | None,
    typer.Option(
        help="The model of recipes and of commands with {model}. Default: the bundled model in 4 bits."
    ),
]
_Concurrency = Annotated[
    str, typer.Option(metavar="N[,N...]", help="How many requests run at a time; each number is a part.")
]
_Prompts = Annotated[
    str, typer.Option(metavar="N[,N...]", help="Tokens of a prompt, about; each number is a part.")
]
_Answer = Annotated[int, typer.Option(min=1, max=100_000, help="Tokens of an answer at most.")]
_Requests = Annotated[int, typer.Option(min=1, max=100_000, help="How many requests each part has.")]
_Timeout = Annotated[float, typer.Option(min=1.0, help="Seconds that a server may be silent.")]
_Out = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Takes the results. Default: a new folder below this one."),
]


def bench(
    servers: _Servers,
    model: _Model = None,
    concurrency: _Concurrency = "1,8",
    prompts: _Prompts = "256,2048",
    answer: _Answer = 128,
    requests: _Requests = 16,
    timeout: _Timeout = 600.0,
    out: _Out = None,
) -> None:
    """Measure how fast servers answer: throughput, first tokens, gaps, and what a known prefix saves.

    The figures have the names of `vllm bench serve`. Ctrl-C keeps what was measured. Exit code 1 if a server
    did not come up, or ended on the way, or a request failed.
    """
    from proxy.cli.bench_run import BenchRequest, run_bench  # imports numpy

    limits = (concurrency, prompts, answer, requests, timeout)
    request = BenchRequest(tuple(servers), model, *limits, out, os.environ.get(API_KEY, ""))
    with failures_told():
        raise typer.Exit(run_bench(request))
