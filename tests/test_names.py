"""A class name stands once in a package: one word, one meaning."""

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
