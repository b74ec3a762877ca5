"""A folder that is killed while it writes and damaged while it rests: `python -m tests.bench.torture`.

What may be served is what was written, byte for byte: the tensors of a segment follow from its name.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from engine.cache.disk import Folder
from engine.cache.record import Record, digest_of

LIMIT = 24 * 2**20


def content(name: bytes, size: int) -> bytes:
    """Bytes that no other segment has."""
    return hashlib.shake_128(name).digest(size)


def segment(number: int, parent: bytes | None = None) -> tuple[Record, bytes]:
    chance = random.Random(number)
    name = f"{number:024d}".encode()
    data = content(name, chance.choice([2_000, 60_000, 900_000]))
    record = Record(
        fingerprint="f",
        model="m",
        name=name,
        parent=parent,
        start=0,
        end=8,
        tokens=number.to_bytes(4, "little") * 8,
        size=len(data),
        checksum=digest_of((data,)),
        saved=float(number),
    )
    return record, data


def write_on(path: Path, first: int) -> None:
    """Write segments until killed, in chains of four."""
    folder = Folder(path, LIMIT)
    folder.load()
    print("writing", flush=True)
    number = first
    while True:
        parent = None
        for _ in range(4):
            record, data = segment(number, parent)
            half = len(data) // 2
            stored = folder.write(record, (data[:half], data[half:]))
            parent = record.name if stored is not None else None
            number += 1


def kill_a_writer(path: Path, first: int, after_s: float) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.bench.torture",
        "--write",
        str(path),
        "--first",
        str(first),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)


@dataclass
class Outcome:
    """Of reading everything. bytes_used, real: what the folder says, and what lies there."""

    served: int
    wrong: int
    damaged: int
    bytes_used: int
    real: int


def read_all(path: Path) -> Outcome:
    """As a server that starts would; wrong: served, and not what was written under that name."""
    folder = Folder(path, LIMIT)
    served = wrong = 0
    try:
        for record in folder.load():
            file = folder.read(record.name)
            if file is None:
                continue
            with file:
                data = file.read()
            served += 1
            wrong += data != content(record.name, len(data)) or int(record.name) != record.tokens[0] + 256 * (
                int.from_bytes(record.tokens[1:4], "little")
            )
        real = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return Outcome(served, wrong, folder.counts.damaged, folder.bytes_used(), real)
    finally:
        folder.close()


def damage(path: Path, chance: random.Random) -> str:
    """Flip one bit of a stored file, or cut its end off; what was done."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.stat().st_size)
    values = [file for file in files if file.suffix == ".val"]
    file = chance.choice(values if values and chance.random() < 0.8 else files)
    data = bytearray(file.read_bytes())
    at = chance.randrange(len(data))
    if chance.random() < 0.25:
        file.write_bytes(data[:at])
        return f"{file.name} cut at {at}"
    data[at] ^= 1 << chance.randrange(8)
    file.write_bytes(data)
    return f"{file.name} bit flipped at {at}"


def torture(kills: int, flips: int, seed: int) -> int:
    """Prints what happened; the number of wrong segments that were served."""
    chance = random.Random(seed)
    wrong = served = damaged = over = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache"
        for round_ in range(kills):
            kill_a_writer(path, 1_000_000 * round_, chance.uniform(0, 0.4))
            outcome = read_all(path)
            wrong, served = wrong + outcome.wrong, served + outcome.served
            damaged, over = damaged + outcome.damaged, over + (outcome.real > LIMIT)
        print(
            f"{kills} kills: {served} served, {wrong} wrong, {damaged} damaged, {over} times over the limit"
        )
        served = damaged = 0
        for round_ in range(flips):
            if round_ % 25 == 0:
                kill_a_writer(path, 1_000_000 * (kills + round_), 0.3)
            damage(path, chance)
            outcome = read_all(path)
            wrong, served = wrong + outcome.wrong, served + outcome.served
            damaged += outcome.damaged
        print(f"{flips} damages: {served} served, {wrong} wrong in all, {damaged} found damaged")
    return wrong + over


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.write is not None:
        with contextlib.suppress(KeyboardInterrupt):
            write_on(arguments.write, arguments.first)
        return
    sys.exit(min(1, torture(arguments.kills, arguments.flips, arguments.seed)))


if __name__ == "__main__":
    main()
