"""The `fortieth` command's entry point: it makes sure that the packages which it imports are its own.

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
    """Finds our packages beside this file, even where other packages have the same names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in PACKAGES:
            return None
        return spec_from_file_location(fullname, ROOT / fullname / "__init__.py")


def main() -> None:
    """Runs the command. A start that fails ends with one line and exit code 1."""
    reopen_closed()
    sys.meta_path.insert(0, OwnPackages())
    try:
        problem = next(foreign_files(), "")
        if not problem:
            from proxy.cli.main import main as run
    except Exception as error:  # the process boundary: an import can run anybody's code
        problem = f"{type(error).__name__}: {error}{hidden_modules(os.environ.get('PYTHONPATH', ''))}"
    if problem:
        print(f"fortieth: cannot start: {problem}", file=sys.stderr)
        raise SystemExit(1)
    run()


def reopen_closed() -> None:
    """Opens the null device in place of closed standard streams. Otherwise the next socket would get such a
    number, and with it whatever is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def foreign_files() -> Iterator[str]:
    """What is wrong with our installed files: missing, or overwritten by a package of the same names."""
    from importlib.metadata import PackageNotFoundError, distribution, distributions

    try:
        ours = distribution("fortieth")
    except PackageNotFoundError:  # it runs from its sources
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
            if others:  # otherwise the file was edited by hand
                yield f"{path} was overwritten by {', '.join(sorted(others))}: {_ADVICE}"


def recorded(package: Distribution) -> Iterator[tuple[str, str]]:
    """A package's installed files and their sizes ("" where none is given), from its RECORD.
    importlib.metadata leaves missing files out in some versions.
    """
    for row in csv.reader((package.read_text("RECORD") or "").splitlines()):
        if row:
            yield row[0], row[2] if len(row) > 2 else ""


def hidden_modules(python_path: str) -> str:
    """The modules of Python's own that a folder of PYTHONPATH hides, in words, after a semicolon."""
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
