"""`python -m tests.bench.gpu_bundle FOLDER` (make gpu-bundle): what bench-gpu needs without a network.

The wheels of this checkout, of what it and its tests need in the locked versions, and of MLX's CUDA backend,
for Linux on x86-64, as one archive in parts that a carrier with a limit takes one by one. `sh install.sh`
puts the parts together and installs from them. Needs the network once, here.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.bench.servers import ROOT

WANTED = ("fortieth", "pip", "pytest", "pytest-asyncio", "hypothesis")
CUDA = ("mlx-cuda-*", "nvidia-*")  # of the lock; nothing that is installed here needs them
PLATFORMS = ("manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)))
PART_MB = 60
ARCHIVE = "wheels.tar"
PINNED = "pinned.txt"
INSTALL = """\
#!/bin/sh
# sh install.sh [ENVIRONMENT]: makes a virtual environment (.venv) of the parts beside this file. It needs no
# network. PYTHON is the interpreter that it is made with.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
into=${1:-.venv}
(cd "$here" && sha256sum --quiet -c sums.txt) || { echo "parts are missing or damaged" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat "$here"/ARCHIVE.* | tar -x -C "$work"
"${PYTHON:-python3}" -m venv "$into"
"$into/bin/python" -m pip install --quiet --no-index --no-deps --find-links "$work" -r "$work/PINNED"
touch "$into/.dev"
echo "installed into $into"
""".replace("ARCHIVE", ARCHIVE).replace("PINNED", PINNED)


def target(python: str) -> dict[str, str]:
    """The environment of the machine, as requirements ask for it."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


def locked(text: str, environment: Mapping[str, str]) -> dict[str, str]:
    """name -> version, of the lines of a lock file that count in that environment."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate(dict(environment)):
                found[canonicalize_name(one.name)] = str(one.specifier).removeprefix("==")
    return found


def needed(wanted: Sequence[str], environment: Mapping[str, str]) -> set[str]:
    """The names of all that these need there, these included, as what is installed here tells."""
    found: set[str] = set()
    open_ = [(name, frozenset[str]()) for name in wanted]
    seen = set(open_)
    while open_:
        name, extras = open_.pop()
        found.add(canonicalize_name(name))
        for text in requirements(name):
            one = Requirement(text)
            asked = [{**environment, "extra": extra} for extra in (*extras, "")]
            if one.marker is None or any(one.marker.evaluate(case) for case in asked):
                entry = one.name, frozenset(one.extras)
                if entry not in seen:
                    seen.add(entry)
                    open_.append(entry)
    return found


def requirements(name: str) -> Sequence[str]:
    """Of a distribution; none of one that is not installed here, since only other machines need it."""
    try:
        return importlib.metadata.requires(name) or ()
    except importlib.metadata.PackageNotFoundError:
        return ()


def pinned(lock: Mapping[str, str], names: set[str], without: Sequence[str]) -> list[str]:
    """The requirements to download: those of the lock that are needed, and the CUDA backend. It brings the
    same libmlx.so as the CPU's, which is left out beside it: of both, the one installed last would count.
    """
    wanted = {
        name: version
        for name, version in sorted(lock.items())
        if (name in names or any(fnmatch(name, one) for one in CUDA))
        and not any(fnmatch(name, one) for one in without)
    }
    if any(fnmatch(name, CUDA[0]) for name in wanted):
        wanted.pop("mlx-cpu", None)
    return [f"{name}=={version}" for name, version in wanted.items()]


def download(requirements: Sequence[str], python: str, folder: Path) -> None:
    """Wheels for the machine, and that of this checkout, with a list of them all."""
    (folder / PINNED).write_text("\n".join(requirements) + "\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    kinds = ["--only-binary=:all:", f"--python-version={python}", *(f"--platform={one}" for one in PLATFORMS)]
    into = ["--dest", str(folder), "-r", str(folder / PINNED)]
    subprocess.run([*pip, "download", "--quiet", "--no-deps", *kinds, *into], check=True)
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    own = f"fortieth=={importlib.metadata.version('fortieth')}"
    (folder / PINNED).write_text("\n".join([*requirements, own]) + "\n")


def pieces(file: Path, most: int) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(most):
            yield piece


def write_parts(wheels: Path, folder: Path, most: int) -> list[Path]:
    """One archive of a folder's files, in parts of so many bytes, their sums and the script beside them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        whole = Path(name) / ARCHIVE
        with tarfile.open(whole, "w") as archive:
            for file in sorted(wheels.iterdir()):
                archive.add(file, file.name)
        parts = []
        for number, piece in enumerate(pieces(whole, most)):
            parts.append(folder / f"{ARCHIVE}.{number:03}")
            parts[-1].write_bytes(piece)
    sums = [f"{hashlib.sha256(part.read_bytes()).hexdigest()}  {part.name}\n" for part in parts]
    (folder / "sums.txt").write_text("".join(sums))
    (folder / "install.sh").write_text(INSTALL)
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="is made anew")
    parser.add_argument("--python", default="3.12", help="of the machine")
    parser.add_argument("--part", type=float, default=PART_MB, help="megabytes of a part, at most")
    parser.add_argument(
        "--without", nargs="*", default=[], metavar="NAME", help="what the machine has (nvidia-*)"
    )
    asked = parser.parse_args()
    environment = target(asked.python)
    lock = locked((ROOT / "requirements.lock").read_text(), environment)
    wanted = pinned(lock, needed(WANTED, environment), asked.without)
    with tempfile.TemporaryDirectory() as name:
        print(f"{len(wanted)} packages for Python {asked.python} are downloaded", flush=True)
        download(wanted, asked.python, Path(name))
        for file in sorted(Path(name).glob("*.whl"), key=os.path.getsize)[:-6:-1]:
            print(f"{os.path.getsize(file) / 2**20:7.0f} MB  {file.name}")
        parts = write_parts(Path(name), asked.folder, int(asked.part * 2**20))
    size = sum(map(os.path.getsize, parts)) / 2**20
    print(f"{asked.folder}: {len(parts)} parts, {size:.0f} MB; there: sh {asked.folder.name}/install.sh")


if __name__ == "__main__":
    main()
