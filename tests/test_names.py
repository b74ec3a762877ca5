"""A class name stands once in a package, and the first line of a module says what is in it."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def names(source: str) -> list[str]:
    """Of the classes at the top of a module."""
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]


def twice(files: dict[str, str]) -> dict[str, list[str]]:
    """The names that several modules define, and which. files: sources by path."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, source in files.items():
        for name in names(source):
            found[name].append(path)
    return {name: paths for name, paths in found.items() if len(paths) > 1}


@pytest.mark.parametrize("package", ["proxy", "engine", "repair"])
def test_a_class_name_stands_once_in_a_package(package: str) -> None:
    files = {str(file): file.read_text("utf-8") for file in (ROOT / package).rglob("*.py")}
    assert len(files) > 10
    assert twice(files) == {}


def test_a_second_one_is_found() -> None:
    files = {"a.py": "class Seen:\n    pass\n", "b.py": "class Seen:\n    pass\n\nclass Other:\n    pass\n"}
    assert twice(files) == {"Seen": ["a.py", "b.py"]}


def opening(source: str) -> list[str]:
    """The lines of a module's first paragraph."""
    told = ast.get_docstring(ast.parse(source)) or ""
    return told.partition("\n\n")[0].splitlines()


@pytest.mark.parametrize("package", ["proxy", "engine", "repair", "corpora"])
def test_the_first_line_of_a_module_is_whole(package: str) -> None:
    """Whoever looks for something reads the tree and the first lines."""
    files = {str(file): file.read_text("utf-8") for file in (ROOT / package).rglob("*.py")}
    assert len(files) > 10
    assert [path for path, source in files.items() if len(opening(source)) != 1] == []


def test_a_first_line_that_goes_on_is_found() -> None:
    assert len(opening('"""One line.\n\nAnother paragraph.\n"""\n')) == 1
    assert len(opening('"""One line that\ngoes on.\n"""\n')) == 2
    assert opening("x = 1\n") == []
