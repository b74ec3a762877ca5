"""`fortieth cache`: lists, checks, empties and warms the prefix cache on disk. No model is needed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cache.paths import cache_folder
from proxy.cli.exits import MISUSED, fail, failures_told
from proxy.records.words import ago

if TYPE_CHECKING:
    from engine.cache.disk import Folder  # heavy: imported where a folder is opened

GIB = 2**30

cache_app = typer.Typer(
    name="cache", help="Look at, check, empty and warm the prefix cache.", no_args_is_help=True
)

Dir = Annotated[
    Path | None, typer.Option("--cache-dir", help="The cache's folder. Default: the folder that serve uses.")
]


@dataclass(slots=True)
class CachedModel:
    """What one model left in the cache.

    fingerprint: of its weights, tokenizer, template, numeric type and libraries.
    nbytes: size of its segments. used: when one was last used, in seconds since the epoch.
    """

    fingerprint: str
    model: str
    segments: int = 0
    tokens: int = 0
    nbytes: int = 0
    used: float = 0.0


def groups(folder: Folder) -> list[CachedModel]:
    """What each model left, the model used last first."""
    found: dict[str, CachedModel] = {}
    for entry in folder.entries.values():
        group = found.setdefault(entry.fingerprint, CachedModel(entry.fingerprint, entry.model))
        group.segments += 1
        group.tokens += entry.tokens
        group.nbytes += entry.size
        group.used = max(group.used, entry.used)
    return sorted(found.values(), key=lambda group: group.used, reverse=True)


@contextmanager
def opened(path: Path | None, write: bool = False) -> Iterator[Folder]:
    """The folder with its records read. Nothing in it changes without `write`.

    Exits with one line where there is no cache, or one that is not ours, or one that cannot be read. A server
    that starts meanwhile cannot write to a folder that was opened for writing, and waits for it.
    """
    from engine.cache.blobs import FAILURES
    from engine.cache.disk import Folder
    from engine.cache.ownership import look_at

    place = (cache_folder() if path is None else path).expanduser()
    try:
        found = look_at(place)
        if not found.usable:
            fail(found.why or f"there is no cache at {place}")
        folder = Folder(place, 2**62, write)
        folder.load()
    except FAILURES as error:
        fail(f"the cache at {place} cannot be read: {error}")
    try:
        yield folder
    finally:
        folder.close()


def needs_writing(folder: Folder) -> None:
    if folder.readonly:
        fail(f"{folder.path} cannot be changed now: {folder.readonly}")


@cache_app.command("ls", short_help="List what is stored, by model.")
def list_models(cache_dir: Dir = None) -> None:
    """List what is stored, by model: fingerprint, segments, tokens, MiB, last use."""
    with opened(cache_dir) as folder:
        for group in groups(folder):
            typer.echo(
                f"{group.fingerprint[:12]}  {group.segments:6d} segments  {group.tokens:9d} tokens  "
                f"{group.nbytes / 2**20:9.1f} MiB  {ago(time.time() - group.used):>9} ago  {group.model}"
            )


@cache_app.command()
def stats(cache_dir: Dir = None) -> None:
    """Show the totals of the folder."""
    with opened(cache_dir) as folder:
        found = groups(folder)
        typer.echo(f"folder     {folder.path}")
        typer.echo(f"on disk    {folder.bytes_used() / GIB:.3f} GiB")
        typer.echo(f"segments   {sum(group.segments for group in found)} of {len(found)} models")
        typer.echo(f"tokens     {sum(group.tokens for group in found)}")
        typer.echo(f"damaged    {folder.counts.damaged} segments, as far as their records tell")


@cache_app.command()
def verify(cache_dir: Dir = None) -> None:
    """Read everything that is stored and compare checksums. Exit code 1 if anything is damaged.

    Nothing is changed: a server removes a damaged segment when it reads it.
    """
    with opened(cache_dir) as folder:
        total = len(folder.entries)
        bad = folder.counts.damaged + len(folder.verify())
        gone = f", {folder.counts.gone} removed by a server meanwhile" if folder.counts.gone else ""
        typer.echo(f"{total - folder.counts.gone} segments read, {bad} damaged{gone}")
        if bad:
            raise typer.Exit(1)


@cache_app.command()
def purge(
    cache_dir: Dir = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FINGERPRINT",
            help="The model whose segments are deleted: its fingerprint, or the beginning that ls shows.",
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Delete the segments of all models.")] = False,
) -> None:
    """Delete what is stored: of one model, or all of it."""
    if (model is None) == (not all_):
        fail("nothing was removed: name a model with --model FINGERPRINT, or all of them with --all", MISUSED)
    with opened(cache_dir, write=True) as folder:
        needs_writing(folder)
        wanted = matching(groups(folder), lambda name: all_ or name.startswith(model or ""))
        if not wanted and not all_:
            fail(f"nothing was removed: there is nothing of a model {model!r}, see `fortieth cache ls`")
        removed = sum(folder.purge(fingerprint) for fingerprint in wanted)
        typer.echo(f"{removed} segments of {len(wanted)} models removed")


@cache_app.command()
def warm(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file of JSON or JSON Lines: {messages, tools}.")
    ],
    base_url: Annotated[
        str, typer.Option(help="Address of the running server. Its key is read from FORTIETH_API_KEY.")
    ] = "http://127.0.0.1:8040/v1",
) -> None:
    """Have a running server compute how conversations will begin. Exit code 1 if anything failed."""
    from proxy.http.warming import read_file, send

    with failures_told():
        for prompt in read_file(file):
            typer.echo(f"{prompt.place}: {send(prompt, base_url, os.environ.get('FORTIETH_API_KEY', ''))}")


def matching(found: list[CachedModel], test: Callable[[str], bool]) -> list[str]:
    return [group.fingerprint for group in found if test(group.fingerprint)]
