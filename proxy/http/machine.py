"""Checks the settings against the machine: open files, memory, disks."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from engine.memory import machine_memory
from proxy.conversation.errors import SettingsError
from proxy.http.settings import GIB, Settings

_log = logging.getLogger(__name__)

_LOOK_S = 1.0
# Looks between two warnings: a limit that is reached once is often reached again.
_QUIET_LOOKS = 60


def check_machine(settings: Settings) -> None:
    """Raises SettingsError where a size is impossible on this machine; one that is partly so is logged."""
    if settings.upstream:
        return
    memory = machine_memory()
    if settings.cache_ram_gb is not None and settings.cache_ram_gb * GIB > memory:
        raise SettingsError(
            f"cache_ram_gb: this machine has {memory / GIB:.1f} GB of memory, got "
            f"{settings.cache_ram_gb:g}; the default takes a quarter of what the model leaves of it"
        )
    for warning in _beyond_disks(settings):
        _log.warning("%s", warning)


def _beyond_disks(settings: Settings) -> Iterator[str]:
    folder = settings.cache_folder()
    wanted = [("cache_disk_gb", folder, settings.cache_disk_gb)] if folder else []
    if settings.ledger is not None:
        wanted.append(("ledger_mb", str(settings.ledger.parent), settings.ledger_mb / 1024))
    for name, place, gib in wanted:
        room = disk_room(Path(place))
        if room is not None and gib * GIB > room:
            yield (
                f"{name}: {gib:.4g} GB are allowed, but the disk of {place} holds {room / GIB:.1f} GB in all"
            )


def disk_room(place: Path) -> int | None:
    """Bytes of the disk on which `place` lies or will lie; None where that cannot be told."""
    for folder in (place, *place.absolute().parents):
        try:
            return shutil.disk_usage(folder).total
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


async def watch_descriptors(limit: int) -> None:
    """Logs whenever the limit of open files is reached: the system then closes new connections before the
    server sees them. To be cancelled.
    """
    quiet = 0
    while True:
        await asyncio.sleep(_LOOK_S)
        quiet = max(0, quiet - 1)
        if not quiet and _is_full():
            quiet = _QUIET_LOOKS
            _log.warning(
                "all %d files that this process may have open are open, so new connections are closed at "
                "once: raise the hard limit (ulimit -Hn, LimitNOFILE) or serve fewer clients",
                limit,
            )


def _is_full() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno == errno.EMFILE
    return False
