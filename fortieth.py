"""The `fortieth` command, before it imports anything: it sees to it that what it imports is its own.

`proxy`, `engine` and `repair` are names that others use too, in folders of PYTHONPATH and in packages that
are installed beside this one.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution

ROOT = Path(__file__).resolve().parent
PACKAGES = ("proxy", "engine", "repair", "corpora")
_ADVICE = "install fortieth again, into a virtual environment of its own"


class OwnPackages(MetaPathFinder):
    """Finds our packages beside this file, whatever else has their names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in PACKAGES:
            return None
        return spec_from_file_location(fullname, ROOT / fullname / "__init__.py")


def main() -> None:
    """Runs the command; a start that cannot be made ends with one line and exit code 1."""
    reopen_closed()
    sys.meta_path.insert(0, OwnPackages())
    try:
        problem = next(foreign_files(), "")
        if not problem:
            from proxy.cli.main import main as run
    except Exception as error:  # the process boundary: who knows whose code an import runs
        problem = f"{type(error).__name__}: {error}{hidden_modules(os.environ.get('PYTHONPATH', ''))}"
    if problem:
        print(f"fortieth: cannot start: {problem}", file=sys.stderr)
        raise SystemExit(1)
    run()


def reopen_closed() -> None:
    """Lets the null device take the place of standard streams that are closed: else the next socket gets
    such a number, and with it what somebody prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def foreign_files() -> Iterator[str]:
    """What is wrong with our installed files: gone, or overwritten by a package that has the same names."""
    from importlib.metadata import PackageNotFoundError, distribution, distributions

    try:
        ours = distribution("fortieth")
    except PackageNotFoundError:  # run from its sources
        return
    for name, size in recorded(ours):
        if Path(name).parts[0] not in PACKAGES or not name.endswith(".py"):
            continue
        path = Path(str(ours.locate_file(name)))
        if not path.is_file():
            yield f"{path} is missing, perhaps since another package was uninstalled: {_ADVICE}"
        elif size and path.stat().st_size != int(size):
            others = {
                str(one.metadata["Name"])
                for one in distributions()
                if one.metadata["Name"] != "fortieth" and any(name == other for other, _ in recorded(one))
            }
            if others:  # else it was edited by hand
                yield f"{path} was overwritten by {', '.join(sorted(others))}: {_ADVICE}"


def recorded(package: Distribution) -> Iterator[tuple[str, str]]:
    """Its installed files and their sizes ("" where none is told), by its RECORD: what importlib.metadata
    makes of that leaves missing files out in some versions.
    """
    for row in csv.reader((package.read_text("RECORD") or "").splitlines()):
        if row:
            yield row[0], row[2] if len(row) > 2 else ""


def hidden_modules(python_path: str) -> str:
    """Modules of Python's own that a folder of PYTHONPATH hides, in words, behind a semicolon."""
    found = [
        str(path)
        for folder in filter(None, python_path.split(os.pathsep))
        if os.path.isdir(folder)
        for path in sorted(Path(folder).iterdir())
        if path.stem in sys.stdlib_module_names and (path.suffix == ".py" or (path / "__init__.py").is_file())
    ]
    return f"; PYTHONPATH hides modules of Python itself: {', '.join(found)}" if found else ""


if __name__ == "__main__":
    main()
