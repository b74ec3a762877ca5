"""The `fortieth` command line. Nothing heavy is imported before a command needs it, so --help is quick."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from typer.core import TyperArgument, TyperCommand, TyperOption

from engine.cache.paths import cache_folder
from engine.heap import map_blocks, one_heap
from proxy import __version__
from proxy.cli.ab import ab
from proxy.cli.bench import bench
from proxy.cli.cache import cache_app
from proxy.cli.connect import connect
from proxy.cli.exits import fail, failures_told
from proxy.cli.ledger import ledger_cli
from proxy.cli.misuse import Commands
from proxy.cli.sessions import sessions
from proxy.conversation.verdict import GuardMode
from proxy.http.logs import configure_logging

_log = logging.getLogger(__name__)

cli = typer.Typer(
    name="fortieth",
    help="The server that still emits a valid tool call on the fortieth turn of an agent loop.",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: help is quick, and errors are lines that can be searched for
    context_settings={"help_option_names": ["-h", "--help"]},
)


cli.add_typer(ledger_cli)
cli.add_typer(cache_app)


class LogLevel(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class KvAtRest(StrEnum):
    keep = "keep"
    bf16 = "bf16"
    q8 = "q8"
    q4 = "q4"


# Bytes: a block of this size is a large body of a request, or a copy of it.
_BODY = 1024 * 1024
_Cors = Annotated[list[str] | None, typer.Option(metavar="ORIGIN")]
_NoCanonical = Annotated[list[str] | None, typer.Option(metavar="RULE")]
_CacheDir = Annotated[str | None, typer.Option(metavar="FOLDER|off")]
_Model = Annotated[str | None, typer.Argument(metavar="MODEL")]
_WarmPrompts = Annotated[Path | None, typer.Option(metavar="FILE")]
_Config = Annotated[Path | None, typer.Option(help="Settings file. Default: fortieth.toml, if it is there.")]
_IdleUnload = Annotated[str | None, typer.Option(metavar="MINUTES|off")]
_LedgerFile = Annotated[str | None, typer.Option(metavar="FILE|off")]


class SettingsCommand(TyperCommand):
    """A command whose options are settings. Their help comes from the settings' fields, which take time to
    load.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from proxy.http.settings import Settings
        from proxy.http.told import sentence

        for parameter in self.params:
            field = Settings.model_fields.get(parameter.name or "")
            if field is not None and isinstance(parameter, TyperOption | TyperArgument):
                parameter.help = sentence(field)
        super().format_help(ctx, formatter)


def main() -> None:
    """The entry point of the `fortieth` command."""
    cli()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fortieth {__version__}")
        raise typer.Exit


@cli.callback()
def fortieth(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@cli.command(cls=SettingsCommand)
def serve(
    model: _Model = None,
    host: str | None = None,
    port: int | None = None,
    served_model_name: str | None = None,
    guard: GuardMode | None = None,
    max_batch: int | None = None,
    queue_limit: int | None = None,
    context_limit: int | None = None,
    deterministic: Annotated[bool, typer.Option("--deterministic")] = False,
    cors: _Cors = None,
    no_canonical: _NoCanonical = None,
    cache_dir: _CacheDir = None,
    kv_at_rest: KvAtRest | None = None,
    moe_top_k: int | None = None,
    warm_prompts: _WarmPrompts = None,
    idle_unload: _IdleUnload = None,
    upstream: list[str] | None = None,
    ledger: _LedgerFile = None,
    log_level: LogLevel | None = None,
    config: _Config = None,
) -> None:
    """Serve a model over the APIs of OpenAI, Anthropic and Ollama.

    Every option is also a key of the settings file and an environment variable (--port: FORTIETH_PORT).
    An API key that clients must show is set there too, as api_key or FORTIETH_API_KEY.
    """
    flags = {
        "model": model,
        "host": host,
        "port": port,
        "served_model_name": served_model_name,
        "guard": guard and guard.value,
        "max_batch": max_batch,
        "queue_limit": queue_limit,
        "context_limit": context_limit,
        "deterministic": deterministic or None,
        "cors": cors or None,
        "no_canonical": no_canonical or None,
        "cache_dir": cache_dir,
        "kv_at_rest": kv_at_rest and kv_at_rest.value,
        "moe_top_k": moe_top_k,
        "warm_prompts": warm_prompts,
        "idle_unload": idle_unload,
        "upstream": upstream or None,
        "ledger": ledger,
        "log_level": log_level and log_level.value,
    }
    _run_server({key: value for key, value in flags.items() if value is not None}, config)


def _run_server(flags: Mapping[str, Any], config: Path | None) -> None:
    one_heap()
    map_blocks(_BODY)
    # Imported here: the web framework and the engine's client take a second.
    from proxy.http.read_settings import foreign_variables, load_settings
    from proxy.http.server import serve as serve_until_stopped

    with failures_told():
        settings = load_settings(flags, os.environ, config)
        configure_logging(settings.log_level)
        if settings.cache_dir is None:
            settings = settings.model_copy(update={"cache_dir": _default_cache_dir()})
        if foreign := foreign_variables(os.environ):
            _log.info(
                "these variables belong to a Kubernetes service and are not read as settings: %s",
                ", ".join(foreign),
            )
        serve_until_stopped(settings, _announce, show_progress)


def _announce(text: str) -> None:
    """Prints it. A server goes on where nobody reads what it prints, as behind `| head -1`."""
    try:
        typer.echo(text)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_progress(text: str) -> None:
    """On a terminal only: a program that reads standard error waits for what went wrong."""
    if sys.stderr is not None and sys.stderr.isatty():  # None: it was closed when the command began
        typer.echo(text, err=True)


def _default_cache_dir() -> str:
    """The default folder; `off` where this user has no home, as in containers under any user number."""
    try:
        return str(cache_folder())
    except RuntimeError:
        _log.warning(
            "there is no prefix cache on disk, because this user has no home folder: "
            "name a folder with --cache-dir"
        )
        return "off"


cli.command(short_help="Show or write the settings that connect a client to this server.")(connect)
cli.command(short_help="Compare how reliably servers call tools, turn by turn.")(ab)
cli.command(short_help="Measure how fast servers answer.")(bench)
cli.command(short_help="Show the sessions of a running server.")(sessions)


@cli.command(short_help="Play an agent loop twice, without and with the guard.")
def demo(
    turns: Annotated[int, typer.Option(min=1, max=200, help="How many tool turns the loop has.")] = 40,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the loop's tasks and of the model's answers.")
    ] = 5,
    model: Annotated[
        str, typer.Option(help="A bundled model, a model directory or a hub id.")
    ] = "fortieth-tiny-4bit",
    temperature: Annotated[
        float,
        typer.Option(
            min=0.0, max=2.0, help="Sampling temperature. At 1.5 the model breaks a call now and then."
        ),
    ] = 1.5,
    plain: Annotated[
        bool, typer.Option("--plain", help="Plain lines: no colours, no screen that is drawn anew.")
    ] = False,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw what happened as a picture of a terminal.")
    ] = None,
    workshop: Annotated[
        bool,
        typer.Option(
            "--workshop", help="An agent's tools over a project of code, with results as long as an agent's."
        ),
    ] = False,
) -> None:
    """Play one agent loop against the bundled model twice, guard off and guard on, and compare.

    Exit code 1 if a request failed.
    """
    from proxy.cli.demo import Demo, run_demo

    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    workload = "workshop" if workshop else "worlds"
    try:
        with failures_told():
            good = run_demo(Demo(turns, seed, model, temperature, svg, workload), plain)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if not good:
        raise typer.Exit(1)


@cli.command(short_help="Check the installation and a model.")
def doctor(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="As for serve: a model directory or a hub id.")
    ] = None,
    divergence: Annotated[
        bool, typer.Option("--divergence", help="Compare texts decoded in a batch with texts decoded alone.")
    ] = False,
    prompts: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many prompts --divergence compares.")
    ] = 50,
    format: Annotated[
        bool,
        typer.Option(
            "--format", help="Print the derived format of the model's calls as a table of fortieth.toml."
        ),
    ] = False,
) -> None:
    """Check the installation and a model: versions, files, tool format, engine, speed.

    Exit code 1 if something does not work.
    """
    from proxy.cli.doctor import examine, format_table  # imports the engine's client

    configure_logging("error")
    if format:
        table = format_table(model)
        typer.echo(
            table or "no format is derived from this model's chat template: `fortieth doctor` says why",
            err=not table,
        )
        raise typer.Exit(0 if table else 1)
    if not examine(model, prompts if divergence else 0, lambda finding: typer.echo(str(finding))):
        raise typer.Exit(1)


@cli.command(short_help="Check and repair recorded outputs of a model.")
def repair() -> None:
    """Check and repair recorded model outputs: JSON Lines on stdin, one result line for each on stdout.

    Exit code 1 if any line could not be read; see docs/repair.md for the fields.
    """
    for name, stream in (("input", sys.stdin), ("output", sys.stdout)):
        if stream is None:
            fail(f"repair: the standard {name} is closed")
    if not repair_lines(sys.stdin.buffer, sys.stdout.buffer):
        raise typer.Exit(1)


def repair_lines(lines: Iterable[bytes], out: BinaryIO) -> bool:
    """Writes one JSON line for each line, at once and in order. Returns False if any of them was bad."""
    from repair.jsonl import repair_line  # imports the library of the validators

    good = True
    for line in lines:
        try:
            result, ok = repair_line(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            result, ok = {"error": f"the line is not UTF-8: {error.reason} at byte {error.start}"}, False
        good = good and ok
        # Half a surrogate pair cannot be written as UTF-8; its backslash escape is how JSON writes it.
        out.write(json.dumps(result, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        out.flush()
    return good
