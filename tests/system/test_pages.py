"""Every command and snippet of README.md and docs/quickstart.md, run as it stands there.

Only addresses and paths are replaced. A command that no row of COMMANDS covers fails the test.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.resolve import MODELS
from proxy.cli.main import cli
from tests.proxy.upstreams.wire import WireUpstream, told, wire_serving
from tests.system.conftest import COMMAND, Served, served
from tests.test_docs import PAGES

ROOT = Path(__file__).parents[2]
RUN = ("README.md", "docs/quickstart.md")
SNIPPETS = (*RUN, "docs/api.md")
ADDRESS = "http://127.0.0.1:8040/v1"
UPSTREAM = "http://127.0.0.1:11434/v1"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\s+# .*$")
_CALL = '{"name": "f", "arguments": {"n": "5",}}'


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of the page's fenced blocks."""
    return _BLOCK.findall((ROOT / page).read_text("utf-8"))


def commands(text: str) -> list[str]:
    """A shell block's commands: each line, with those that a quote or a backslash joins to it."""
    found: list[str] = []
    for line in text.splitlines():
        opened = found and (found[-1].count("'") % 2 or found[-1].endswith("\\"))
        if opened:
            found[-1] += "\n" + line
        elif line.strip():
            found.append(_COMMENT.sub("", line))
    return found


def sh(command: str, folder: Path, code: int = 0) -> str:
    """What a command prints, with the project's own `fortieth` on the PATH."""
    environment = {
        **os.environ,
        "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "FORTIETH_PORT": "0",  # a server of the user's own may be running
    }
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def made(command: str, server: Served, folder: Path) -> None:
    """Running `make serve` and `make test` inside the tests would be a circle: what they run is compared."""
    (target,) = re.findall(r"^make (\w+)$", command)
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert recipe
    assert (
        recipe.group(1).strip()
        == {
            "serve": "$(BIN)/fortieth serve $(ARGS)",
            "test": "$(BIN)/python -m pytest $(ARGS)",
        }[target]
    )
    assert "fortieth is ready" in server.banner


def lists_targets(command: str, server: Served, folder: Path) -> None:
    said = sh(f"{command} -C '{ROOT}'", folder)
    assert all(f"make {target} " in said for target in ("serve", "test", "help", "demo-svg"))
    assert not [line for line in said.splitlines() if len(line) > 150]


def installed(command: str, server: Served, folder: Path) -> None:
    """What it would put on the PATH is there, for these tests were installed from the same project."""
    assert COMMAND.is_file()
    assert "fortieth 0." in sh("fortieth --version", folder)


def serves(command: str, server: Served, folder: Path) -> None:
    assert "fortieth is ready" in server.banner
    assert server.base_url.startswith("http://127.0.0.1:")


def serves_folder(command: str, server: Served, folder: Path) -> None:
    model = folder / "Qwen3-8B-4bit"
    model.symlink_to(MODELS / "fortieth-tiny-4bit")
    path = command.split()[-1].replace("~/models", str(folder))
    assert path == str(model)
    with served(path) as running:
        assert "fortieth is ready" in running.banner


def serves_hub_model(command: str, server: Served, folder: Path) -> None:
    """Without a network it is taken for what it is, and the hub's cache is looked into."""
    said = sh(command, folder, code=1)
    assert f"{command.split()[-1]!r}, and it cannot be fetched from the hub" in said


def serves_upstream(command: str, server: Served, folder: Path) -> None:
    with wire_serving(WireUpstream(told("Good day."))) as upstream:
        options = command.replace(UPSTREAM, upstream.base_url).split()[2:]
        with served(*options) as running:
            body = '{"messages": [{"role": "user", "content": "Hello"}]}'
            assert "Good day." in sh(f"curl -s {running.base_url}/chat/completions -d '{body}'", folder)


def repairs(command: str, server: Served, folder: Path) -> None:
    tool = '{"name": "f", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}'
    text = _CALL.replace('"', '\\"')
    (folder / "outputs.jsonl").write_text(f'{{"raw_output": "{text}", "tools": [{tool}]}}\n', "utf-8")
    sh(command, folder)
    assert '"verdict": "repaired"' in (folder / "verdicts.jsonl").read_text("utf-8")


def repairs_line(command: str, server: Served, folder: Path) -> None:
    said = sh(command, folder)
    assert '"verdict": "repaired"' in said
    assert '"days": 3}' in said
    assert said.count('"kind"') == 2


def asks(command: str, server: Served, folder: Path) -> None:
    said = sh(command.replace(ADDRESS, server.base_url), folder)
    assert "x-fortieth-verdict: clean" in said
    assert all(name in said for name in ("x-fortieth-fixes", "x-fortieth-attempts", "x-fortieth-cache"))
    assert "get_weather" in said


def connects(command: str, server: Served, folder: Path) -> None:
    """In a home of its own; the page's server is at the default address."""
    said = sh(f"CODEX_HOME= HOME='{folder}' {command} --base-url {server.base_url}", folder)
    path = folder / ".codex/fortieth.config.toml"
    assert f"# {path} was written." in said
    assert f'base_url = "{server.base_url}"' in path.read_text("utf-8")


def demonstrates(command: str, server: Served, folder: Path) -> None:
    """Its forty turns are tests/system/test_demo.py's; two show that it is there."""
    assert "guard" in sh(f"{command} --turns 2 --plain", folder)


COMMANDS: list[tuple[str, Callable[[str, Served, Path], None]]] = [
    (r"make (serve|test)", made),
    (r"make help", lists_targets),
    (r"uv tool install \.", installed),
    (r"fortieth serve", serves),
    (r"fortieth serve ~/\S+", serves_folder),
    (r"fortieth serve [\w-]+/[\w.-]+", serves_hub_model),
    (rf"fortieth serve --upstream {re.escape(UPSTREAM)}", serves_upstream),
    (r"fortieth repair < outputs.jsonl > verdicts.jsonl", repairs),
    (r"(?s)echo '.*' \| fortieth repair", repairs_line),
    (rf"(?s)curl -i {re.escape(ADDRESS)}/chat/completions .*", asks),
    (r"fortieth connect codex --write", connects),
    (r"fortieth demo", demonstrates),
]
SHELL = sorted(
    {one for page in RUN for language, text in blocks(page) if not language for one in commands(text)}
)
PYTHON = [text for page in SNIPPETS for language, text in blocks(page) if language == "python"]


def cover(command: str) -> Callable[[str, Served, Path], None] | None:
    return next((run for pattern, run in COMMANDS if re.fullmatch(pattern, command)), None)


@pytest.mark.parametrize("command", SHELL, ids=lambda command: re.sub(r"\W+", "_", command[:60]))
def test_a_command_does_what_the_page_says(command: str, server: Served, tmp_path: Path) -> None:
    run = cover(command)
    assert run is not None, f"no test runs {command!r}: add a row to COMMANDS"
    run(command, server, tmp_path)


@pytest.mark.parametrize("program", PYTHON, ids=["readme", "quickstart", "api"])
def test_a_snippet_prints_what_it_says(program: str, server: Served) -> None:
    expected = re.findall(r"^print\(.*\)  # (.+)$", program, re.MULTILINE)
    assert expected
    assert ADDRESS in program
    done = subprocess.run(
        [sys.executable, "-c", program.replace(ADDRESS, server.base_url)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == expected, done.stderr


def test_nothing_on_the_pages_is_passed_over() -> None:
    assert {language for page in RUN for language, _ in blocks(page)} == {"", "python"}
    assert len(SHELL) >= len(COMMANDS)
    assert {cover(command) for command in SHELL} == {run for _, run in COMMANDS}
    assert cover("fortieth serve --port 1") is None
    assert cover("make clean") is None


def test_subcommands_and_targets_named_in_the_documents_exist() -> None:
    known = {one.name or getattr(one.callback, "__name__", "") for one in cli.registered_commands}
    known |= {one.typer_instance.info.name for one in cli.registered_groups if one.typer_instance}
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = "\n".join(page.read_text("utf-8") for page in PAGES if page.name != "CHANGELOG.md")
    fenced = "\n".join(block for _, block in _BLOCK.findall(text))
    named = set(re.findall(r"`(?:\.venv/bin/)?fortieth ([a-z]+)[^`\n]*`", text))
    named |= set(re.findall(r"(?:^|\$ |/bin/)fortieth ([a-z]+)", fenced, re.MULTILINE))
    made = set(re.findall(r"`make ([a-z-]+)", text)) | set(
        re.findall(r"^make ([a-z-]+)", fenced, re.MULTILINE)
    )
    assert {"serve", "repair", "demo"} <= named <= known
    assert {"serve", "test", "check"} <= made <= targets
