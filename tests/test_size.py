"""Files hold a screenful of ideas, functions fit on a screen: the size gate of the house."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("proxy", "engine", "repair", "corpora", "tests", "examples")
FILE_LINES, FUNCTION_LINES = 400, 50
SOURCES = [ROOT / "fortieth.py", *sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def long_functions(source: str) -> list[str]:
    """The functions of a source text that are longer than a screen, as `name: lines`."""
    sized = ((f.name, (f.end_lineno or 0) - f.lineno + 1) for f in functions(ast.parse(source)))
    return [f"{name}: {lines} lines" for name, lines in sized if lines > FUNCTION_LINES]


def test_sources_are_found() -> None:
    assert len(SOURCES) > 30


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_a_screenful_of_ideas(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= FILE_LINES
    assert long_functions(source) == []


def test_the_gate_can_fail() -> None:
    body = "    pass\n" * FUNCTION_LINES
    assert long_functions(f"def f():\n{body}") == [f"f: {FUNCTION_LINES + 1} lines"]
    assert long_functions("def f():\n    pass\n") == []
