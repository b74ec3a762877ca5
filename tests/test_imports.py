"""Imports between packages: every contract can fail, no folder imports another in a circle."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fortieth

ROOT = Path(__file__).parents[1]
LINTER = Path(sys.executable).with_name("lint-imports")

# words of a contract's name, the file that breaks it (made where there is none), its new lines, what is told
PLANTED = [
    (
        "engine and repair, which never meet",
        "engine/limits.py",
        "import repair.types",
        "engine.limits -> repair",
    ),
    (
        "engine and repair, which never meet",
        "repair/trail.py",
        "def late():\n    import engine.types",
        "repair.trail -> engine.types",
    ),
    (
        "none in a circle",
        "proxy/codecs/hints.py",
        "import proxy.guard.policy",
        "proxy.codecs.hints -> proxy.guard",
    ),
    (
        "none in a circle",
        "proxy/prompts/thinking.py",
        "if TYPE_CHECKING:\n    import proxy.upstreams.base",
        "proxy.prompts.thinking -> proxy.upstreams.base",
    ),
    ("none in a circle", "proxy/loose.py", "", "- proxy.loose"),
    (
        "known to the start alone",
        "proxy/guard/policy.py",
        "import proxy.upstreams.remote.target",
        "proxy.guard.policy -> proxy.upstreams.remote.target",
    ),
    ("corpora but the demo", "proxy/cli/doctor.py", "import corpora.lexicon", "proxy.cli.doctor -> corpora"),
    ("Corpora may know repair", "corpora/lexicon.py", "import engine.types", "corpora.lexicon -> engine"),
    (
        "nothing that only training needs",
        "corpora/world/tables.py",
        "import corpora.lessons.vocabulary",
        "corpora.world.tables -> corpora.lessons",
    ),
    ("Repair is pure", "repair/names.py", "import time", "repair.names -> time"),
    ("known to three files", "engine/cache/radix.py", "import mlx_lm", "engine.cache.radix -> mlx_lm"),
    ("MLX stays", "engine/resolve.py", "import mlx.core", "engine.resolve -> mlx"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """lint-imports over the packages in the folder, as `make check` runs it."""
    plain = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run([LINTER], cwd=folder, env=plain, text=True, capture_output=True)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our packages with nothing planted: every contract is kept."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in fortieth.PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    result = lint(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.mark.parametrize(("contract", "path", "code", "told"), PLANTED, ids=[row[1] for row in PLANTED])
def test_a_contract_fails_on_what_breaks_it(
    copy: Path, contract: str, path: str, code: str, told: str
) -> None:
    file = copy / path
    before = file.read_text("utf-8") if file.exists() else None
    file.write_text(f"{before or ''}\n{code}\n", "utf-8")
    result = lint(copy)
    if before is None:
        file.unlink()
    else:
        file.write_text(before, "utf-8")
    assert result.returncode == 1, result.stderr
    assert any(contract in line and "BROKEN" in line for line in result.stdout.splitlines())
    assert told in result.stdout


def test_every_contract_is_broken_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    names = [contract["name"] for contract in project["tool"]["importlinter"]["contracts"]]
    assert {name for name in names if any(contract in name for contract, *_ in PLANTED)} == set(names)


def folders(sources: dict[str, str]) -> dict[str, set[str]]:
    """The folders below a package that each folder imports from. sources: the package's texts by path."""
    known = {Path(path).parent for path in sources if len(Path(path).parts) > 2}
    imports: dict[str, set[str]] = defaultdict(set)
    for path, source in sources.items():
        here = Path(path).parent
        for name in imported(ast.parse(source)):
            module = Path(*name.split("."))
            there = module if module in known else module.parent
            if here in known and there in known and there != here:
                imports[str(here)].add(str(there))
    return imports


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules named by the imports, wherever in the text they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{one.name}" for one in node.names)
            yield node.module


@pytest.mark.parametrize("package", fortieth.PACKAGES)
def test_no_folder_imports_another_in_a_circle(package: str) -> None:
    files = (ROOT / package).rglob("*.py")
    graph = folders({str(file.relative_to(ROOT)): file.read_text("utf-8") for file in files})
    assert graph or package == "engine", "the two folders of engine/ know nothing of each other"
    TopologicalSorter(graph).prepare()


def test_a_circle_is_found() -> None:
    texts = {
        "proxy/a/one.py": "from proxy.b import two",
        "proxy/b/two.py": "def f():\n    import proxy.a.one",
    }
    with pytest.raises(CycleError):
        TopologicalSorter(folders(texts)).prepare()


def test_only_what_makes_it_a_package_and_a_command_is_loose_in_proxy() -> None:
    assert {file.name for file in (ROOT / "proxy").glob("*.py")} == {"__init__.py", "__main__.py"}
