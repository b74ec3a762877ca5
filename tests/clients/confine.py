"""`python -m tests.clients.confine FOLDER COMMAND...` runs a command that can write in one folder alone.

A real model decides what runs in the shell of an agent, and a small one may decide anything. Landlock takes
the right to write from a process and all that it starts, without privileges
(https://docs.kernel.org/userspace-api/landlock.html). Where the kernel has none the command runs as it is.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the numbers of its system calls, the same everywhere
_VERSION_ONLY, _PATH_BENEATH, _NO_NEW_PRIVILEGES = 1, 1, 38
_WRITE_FILE, _REMOVE_DIR, _REFER, _TRUNCATE = 1, 4, 13, 14  # bits; between the second and the third: makes


class _Rules(ctypes.Structure):
    _fields_ = (("handled", ctypes.c_uint64),)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def _writing(version: int) -> int:
    """All rights to change a file system, as far as this version of Landlock knows them."""
    bits = [_WRITE_FILE, *range(_REMOVE_DIR, _REFER)]
    bits += [_REFER] if version >= 2 else []
    bits += [_TRUNCATE] if version >= 3 else []
    return sum(1 << bit for bit in bits)


def available() -> bool:
    return sys.platform == "linux" and _version() > 0


def _version() -> int:
    return int(ctypes.CDLL(None).syscall(_CREATE, None, 0, _VERSION_ONLY))


def confine(*folders: Path) -> None:
    """This process, and what it starts, can write in these folders alone from now on. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(*arguments: object) -> int:
        done = int(libc.syscall(*arguments))
        if done < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return done

    rights = _writing(_version())
    rules = _Rules(rights)
    ruleset = call(_CREATE, ctypes.byref(rules), ctypes.c_size_t(ctypes.sizeof(rules)), 0)
    for folder in folders:
        place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        beneath = _Beneath(rights, place)
        call(_ADD, ruleset, _PATH_BENEATH, ctypes.byref(beneath), 0)
        os.close(place)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    call(_RESTRICT, ruleset, 0)
    os.close(ruleset)


def main(folder: str, *command: str) -> None:
    if available():
        confine(Path(folder), Path("/dev"))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
