"""What surrounds the code: packages that tell their types, hooks and issue forms that can work."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import fortieth
from proxy import __version__

ROOT = Path(__file__).parents[1]
ENTRY = "fortieth"
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def test_the_release_has_one_number_and_one_date() -> None:
    citation = load(ROOT / "CITATION.cff")
    log = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", log, re.MULTILINE)
    assert newest is not None
    assert newest.groups() == (citation["version"], str(citation["date-released"]))
    assert citation["version"] == __version__


def test_a_container_has_all_that_is_installed() -> None:
    lines = (ROOT / "Containerfile").read_text("utf-8").splitlines()
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    assert all((ROOT / name).exists() for name in copied)
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    installed = build["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    project = build["project"]
    needed = (*installed, project["readme"], *project["license-files"], "pyproject.toml")
    # a file may lie in a folder that is copied
    assert [one for one in needed if not {one, *map(str, Path(one).parents)} & copied] == []
    assert ENTRY in project["scripts"]
    assert f'ENTRYPOINT ["{ENTRY}"]' in lines


def test_what_is_left_out_of_the_wheel_is_there_and_is_no_whole_package() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]
    left_out = build["wheel"]["exclude"]
    assert [one for one in left_out if not (ROOT / one).is_dir()] == []
    assert not {*left_out} & {*build["wheel"]["only-include"]}
    assert not {*left_out} & {*build["sdist"]["include"]}


@pytest.mark.parametrize("package", fortieth.PACKAGES)
def test_a_package_tells_its_types(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_hooks_run_tools_that_the_set_up_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    installed = {line.split(">")[0] for line in project["optional-dependencies"]["dev"]}
    (repository,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    hooks = repository["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    tools = {hook["entry"].split()[0] for hook in hooks}
    assert tools == {".venv/bin/ruff", ".venv/bin/mypy"}
    assert {Path(tool).name for tool in tools} <= installed


@pytest.mark.parametrize("path", [one for one in FORMS if one.stem != "config"], ids=lambda path: path.stem)
def test_an_issue_form_asks_for_something(path: Path) -> None:
    form = load(path)
    assert form["name"]
    assert form["description"]
    fields = [one for one in form["body"] if one["type"] != "markdown"]
    assert len({one["id"] for one in fields}) == len(fields) >= 3
    assert all(one["attributes"]["label"] for one in fields)
    assert any(one.get("validations", {}).get("required") for one in fields)


def test_there_is_a_form_for_each_kind() -> None:
    assert {path.stem for path in FORMS} == {"bug", "malformed_call", "model_or_format", "config"}
