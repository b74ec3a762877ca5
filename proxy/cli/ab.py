"""`fortieth ab`: servers side by side on the same conversations, and a report of what was found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from proxy.ab import API_KEY
from proxy.cli.exits import failures_told
from proxy.cli.given import given_options

_Arms = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ARM...",
        help="One to be measured, or several to be compared: a base_url (URL#MODEL names its model), "
        "`bundled`, a model directory, `mlx-lm`, `vllm-mlx`, `rapid-mlx`, `llama-cpp`, or a command with "
        "{port}. Settings follow a colon: bundled:guard=off,kv=q8.",
    ),
]
_Model = Annotated[
    str | None,
    typer.Option(
        help="The model of recipes and of commands with {model}. Default: the bundled model in 4 bits."
    ),
]
_Workload = Annotated[
    str,
    typer.Option(
        metavar="worlds|workshop|corrupted|FILE",
        help="Tool worlds, the agent's workshop, corrupted outputs of a scripted model behind each arm, or a "
        "file of recorded conversations as JSON Lines.",
    ),
]
_FromLedger = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Replay the conversations that a server's ledger has kept (ledger_requests = true).",
    ),
]
_Seeds = Annotated[int, typer.Option(min=1, max=10_000, help="How many conversations each arm plays.")]
_FirstSeed = Annotated[int, typer.Option(min=0, help="The seed of the first conversation.")]
_Turns = Annotated[int, typer.Option(min=1, max=60, help="Tool turns of each loop of worlds or workshop.")]
_Concurrency = Annotated[
    str, typer.Option(metavar="N[,N...]", help="How many conversations run at a time; each number is a part.")
]
_Temperature = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=2.0,
        help="Sampling temperature. Default: 0.7, or 1.5 where all arms are the bundled model, which hardly "
        "breaks a call below.",
    ),
]
_MaxTokens = Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")]
_Timeout = Annotated[float, typer.Option(min=1.0, help="Seconds that a server may be silent.")]
_Out = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Takes the results. Default: a new folder below this one."),
]
_Resume = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Go on with the run whose results are in this folder.")
]


def ab(
    context: typer.Context,
    arms: _Arms = None,
    model: _Model = None,
    workload: _Workload = "worlds",
    from_ledger: _FromLedger = None,
    seeds: _Seeds = 10,
    first_seed: _FirstSeed = 0,
    turns: _Turns = 20,
    concurrency: _Concurrency = "1",
    temperature: _Temperature = None,
    max_tokens: _MaxTokens = 512,
    timeout: _Timeout = 600.0,
    out: _Out = None,
    resume: _Resume = None,
) -> None:
    """Compare servers by the reliability of their tool calls, turn by turn, and write a report.

    Arms that are recipes or commands are started for the run and stopped after it. Ctrl-C keeps what was
    measured. Exit code 1 if an arm did not come up, or ended on the way.
    """
    from proxy.cli.ab_run import AbRequest, run_ab  # imports numpy and the corpora

    limits = (seeds, first_seed, turns, concurrency, temperature, max_tokens, timeout)
    key = os.environ.get(API_KEY, "")
    given = given_options(context)
    request = AbRequest(tuple(arms or ()), model, workload, from_ledger, *limits, out, resume, key, given)
    with failures_told():
        raise typer.Exit(run_ab(request))
