"""The files and messages of docs/guides against the programs that read them and the code that says them."""

from __future__ import annotations

import configparser
import plistlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from proxy.cli.main import cli
from proxy.http.read_settings import load_settings
from tests.test_docs import PAGES

ROOT = Path(__file__).parents[1]
GUIDES = ROOT / "docs/guides"
FILES = GUIDES / "deployment"
DEPLOYMENT = (GUIDES / "deployment.md").read_text("utf-8")
SECONDS = 90  # what a service manager waits before it kills
# What an answer of ours is asked to hold by a table's first column, word for word; the other cells describe.
_SAID = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
_OF_THE_SHELL = {"fortieth: command not found"}


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def parses(command: list[str]) -> bool:
    """Whether the command line takes these words, without running anything."""
    assert Path(command[0]).name == "fortieth"
    found = typer.main.get_command(cli)
    assert isinstance(found, typer.core.TyperGroup)
    found.commands[command[1]].make_context(command[1], command[2:])
    return True


TOML = [
    pytest.param(text, id=f"{page.name} {number}")
    for page in PAGES
    if page.is_relative_to(GUIDES)
    for number, text in enumerate(blocks("toml", page.read_text("utf-8")))
]


@pytest.mark.parametrize("text", TOML)
def test_a_settings_file_is_accepted(text: str, tmp_path: Path) -> None:
    path = tmp_path / "fortieth.toml"
    path.write_text(text, "utf-8")
    settings = load_settings({}, {}, path)
    assert settings.model_dump(exclude_unset=True).keys() == tomllib.loads(text).keys()


def test_systemd() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment]  # keys in systemd's own letters
    unit.read_string((FILES / "fortieth.service").read_text("utf-8"))
    service = unit["Service"]
    assert parses(service["ExecStart"].split())
    assert int(service["TimeoutStopSec"]) == SECONDS
    variables = dict(one.split("=") for one in service["Environment"].split())
    assert load_settings({}, variables).cache_dir == "/var/cache/fortieth/prefix"


def test_launchd() -> None:
    found = plistlib.loads((FILES / "org.fortieth.serve.plist").read_bytes())
    assert parses(found["ProgramArguments"])
    assert found["ExitTimeOut"] == SECONDS
    assert found["KeepAlive"] == {"SuccessfulExit": False}


def test_kubernetes() -> None:
    deployment, service = yaml.safe_load_all((FILES / "kubernetes.yaml").read_text("utf-8"))
    pod = deployment["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == SECONDS
    (container,) = pod["containers"]
    assert parses(["fortieth", *container["args"]])
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    names = ("startupProbe", "readinessProbe", "livenessProbe")
    (shown,) = blocks("yaml", DEPLOYMENT)
    assert yaml.safe_load(shown) == {name: container[name] for name in names}
    for name in names:
        path = container[name]["httpGet"]["path"]
        assert f"`GET {path}`" in (ROOT / "docs/api.md").read_text("utf-8")


def test_nginx() -> None:
    """The page's part stands in the file, line for line."""
    (shown,) = blocks("nginx", DEPLOYMENT)
    lines = [line.strip() for line in (FILES / "nginx.conf").read_text("utf-8").splitlines()]
    wanted = [line.strip() for line in shown.splitlines()]
    at = lines.index(wanted[0])
    assert lines[at : at + len(wanted)] == wanted
    assert "client_max_body_size 64m;" in " ".join(lines)


def test_containers() -> None:
    """The options behind the image's name are those of the command."""
    recipe = (ROOT / "Containerfile").read_text("utf-8")
    assert 'ENTRYPOINT ["fortieth"]' in recipe
    for text in blocks("text", DEPLOYMENT):
        for arguments in re.findall(r"^podman run [\s\S]*?fortieth (serve .+)$", text, re.MULTILINE):
            assert parses(["fortieth", *arguments.split()])
        if "podman run" in text:
            assert f"--stop-timeout {SECONDS}" in text


def test_every_file_of_the_deployment_page_is_on_it() -> None:
    for path in FILES.iterdir():
        assert f"(deployment/{path.name})" in DEPLOYMENT


@pytest.mark.parametrize("page", ["troubleshooting", "other-servers"])
def test_a_message_on_the_page_is_one_that_is_given(page: str) -> None:
    said: list[str] = _SAID.findall((GUIDES / f"{page}.md").read_text("utf-8"))
    source = "".join(
        path.read_text("utf-8")
        for place in ("fortieth.py", "proxy", "engine")
        for path in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))
    )
    joined = re.sub(r'"\s*\n\s*f?"', "", source)  # a message may be written in several pieces
    assert len(said) >= 3
    assert [one for one in said if one not in joined and one not in _OF_THE_SHELL] == []


def test_the_glossary_has_each_word_once() -> None:
    text = (ROOT / "docs/glossary.md").read_text("utf-8")
    words: list[Any] = re.findall(r"^\| (?!word \||---)([^|]+) \|", text, re.MULTILINE)
    assert len(words) == len(set(words)) > 50
    linking = [page for page in PAGES if "(glossary.md)" in page.read_text("utf-8")]
    assert len(linking) > 1
