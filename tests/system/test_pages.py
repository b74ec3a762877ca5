"""Every command and snippet of the pages of RUN, run as it stands there.

Only addresses and paths are replaced. A command that no row of COMMANDS covers fails the test.
test_what_happened.py does the same for a page whose blocks follow one another.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.resolve import MODELS
from proxy.cli.main import cli
from proxy.records.ledger import Ledger
from tests.proxy.live import scripted, serving
from tests.proxy.upstreams.wire import WireUpstream, told, wire_serving
from tests.system import pages
from tests.system.conftest import COMMAND, Served, served
from tests.system.pages import ADDRESS, HOST, ROOT, blocks, commands, sh
from tests.test_docs import PAGES

RUN = (
    "README.md",
    "docs/quickstart.md",
    "docs/api.md",
    "docs/guides/other-servers.md",
    "docs/guides/security.md",
    "docs/guides/monitoring.md",
    "docs/guides/troubleshooting.md",
)
# Blocks that no shell of ours can run: files, queries, JSON, commands of other programs. tests/test_guides.py
# and test_monitoring.py read them, but for `text`, which quotes how other servers are started.
READ_ELSEWHERE = {"json", "yaml", "toml", "promql", "text"}
UPSTREAM = "http://127.0.0.1:11434/v1"
_CALL = '{"name": "f", "arguments": {"n": "5",}}'


def made(command: str, server: Served, folder: Path) -> None:
    """Running `make serve` and `make test` inside the tests would be a circle: what they run is compared."""
    (target,) = re.findall(r"^make (\w+)$", command)
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert recipe
    assert (
        recipe.group(1).strip()
        == {
            "serve": "$(BIN)/fortieth serve $(ARGS)",
            "test": "$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)",
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
        options = command.replace(UPSTREAM, upstream.base_url).replace("ledger.sqlite", f"{folder}/ledger")
        with served(*options.split()[2:]) as running:
            body = '{"messages": [{"role": "user", "content": "Hello"}]}'
            assert "Good day." in sh(f"curl -s {running.base_url}/chat/completions -d '{body}'", folder)


def follows_ledger(command: str, server: Served, folder: Path) -> None:
    """With -f it ends when it is told to."""
    ledger = Ledger.open(folder / "ledger.sqlite")
    with serving(scripted("Good day."), sinks=[ledger]) as here:
        assert here.post({"messages": [{"role": "user", "content": "Hello"}]}).status_code == 200
    ledger.close()
    assert "scripted turn 1 none" in sh(f"timeout --signal=INT 5 {command} || true", folder)


def serves_without_disk(command: str, server: Served, folder: Path) -> None:
    """The tests' own servers are started so, by the variable of the same setting."""
    flag, value = command.split()[-2:]
    assert os.environ[f"FORTIETH_{flag.strip('-').replace('-', '_').upper()}"] == value
    assert "fortieth is ready" in server.banner


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


def fetches(command: str, server: Served, folder: Path) -> None:
    """A request of the API page: an answer, or the lines of a stream, that is no error."""
    lines = sh(command.replace(HOST, server.base_url.removesuffix("/v1")), folder).splitlines()
    assert lines
    assert [line for line in lines if json.loads(line).get("error")] == []


def fetches_compressed(command: str, server: Served, folder: Path) -> None:
    body = {"model": "fortieth-tiny", "messages": [{"role": "user", "content": "Hello!"}]}
    (folder / "request.json").write_text(json.dumps(body), "utf-8")
    said = json.loads(sh(command.replace(ADDRESS, server.base_url), folder))
    assert said["choices"][0]["finish_reason"] == "stop"


def greps_metrics(command: str, server: Served, folder: Path) -> None:
    said = sh(command.replace(HOST, server.base_url.removesuffix("/v1")), folder)
    assert said.splitlines()[-1] == "fortieth_engine_up 1.0"


def asks_with_key(command: str, server: Served, folder: Path) -> None:
    with serving(scripted("Good day."), api_key="secret") as here:
        said = sh(command.replace(ADDRESS, here.base_url), folder)
    assert said.strip() == ("200" if "Bearer secret" in command else "401")


def examines(command: str, server: Served, folder: Path) -> None:
    assert "FAIL" not in sh(command, folder)


_API = re.escape(HOST)
COMMANDS: list[tuple[str, Callable[[str, Served, Path], None]]] = [
    (r"make (serve|test)", made),
    (r"make help", lists_targets),
    (r"uv tool install \.", installed),
    (r"fortieth serve", serves),
    (r"fortieth serve ~/\S+", serves_folder),
    (r"fortieth serve [\w-]+/[\w.-]+", serves_hub_model),
    (rf"fortieth serve --upstream {re.escape(UPSTREAM)}( --guard observe --ledger \S+)?", serves_upstream),
    (r"fortieth serve --cache-dir off", serves_without_disk),
    (r"fortieth ledger tail ledger.sqlite -f", follows_ledger),
    (r"fortieth repair < outputs.jsonl > verdicts.jsonl", repairs),
    (r"(?s)echo '.*' \| fortieth repair", repairs_line),
    (rf"(?s)curl -i {_API}/v1/chat/completions .*", asks),
    (rf"(?s)curl {_API}/v1/chat/completions .*content-encoding: gzip.*", fetches_compressed),
    (rf"(?s)curl {_API}/\S+( -H 'content-type: application/json')?( \\?\s*-d '.*')?", fetches),
    (rf"curl -s {_API}/metrics \| grep fortieth_engine_up", greps_metrics),
    (rf"curl -s -o /dev/null -w '%{{http_code}}\\n' {_API}/v1/models.*", asks_with_key),
    (r"fortieth connect codex --write", connects),
    (r"fortieth demo", demonstrates),
    (r"fortieth doctor", examines),
]
SHELL = sorted(
    {one for page in RUN for block in blocks(page) if not block.language for one in commands(block.text)}
)
PYTHON = [
    pytest.param(block.text, id=f"{Path(page).stem}: {block.section}")
    for page in RUN
    for block in blocks(page)
    if block.language == "python"
]


def cover(command: str) -> Callable[[str, Served, Path], None] | None:
    return next((run for pattern, run in COMMANDS if re.fullmatch(pattern, command)), None)


@pytest.mark.parametrize("command", SHELL, ids=lambda command: re.sub(r"\W+", "_", command[:60]))
def test_a_command_does_what_the_page_says(command: str, server: Served, tmp_path: Path) -> None:
    run = cover(command)
    assert run is not None, f"no test runs {command!r}: add a row to COMMANDS"
    run(command, server, tmp_path)


@pytest.mark.parametrize("program", PYTHON)
def test_a_snippet_prints_what_it_says(program: str, server: Served) -> None:
    expected = pages.told(program)
    assert expected
    assert pages.run_python(program, server.base_url) == expected


def test_nothing_on_the_pages_is_passed_over() -> None:
    assert {block.language for page in RUN for block in blocks(page)} == {"", "python", *READ_ELSEWHERE}
    assert all(block.language in ("", "python") for page in RUN[:2] for block in blocks(page))
    assert len(SHELL) >= len(COMMANDS)
    assert {cover(command) for command in SHELL} == {run for _, run in COMMANDS}
    assert cover("fortieth serve --port 1") is None
    assert cover("make clean") is None


def test_every_page_of_a_section_that_begins_is_run() -> None:
    """A new page of Start or of the guides is run here, or by a test of its own."""
    own = {"docs/what-happened.md", "docs/guides/deployment.md"}  # test_what_happened.py, test_guides.py
    guides = {f"docs/guides/{path.name}" for path in (ROOT / "docs/guides").glob("*.md")}
    assert guides <= {*RUN, *own}


def test_subcommands_and_targets_named_in_the_documents_exist() -> None:
    known = {one.name or getattr(one.callback, "__name__", "") for one in cli.registered_commands}
    known |= {one.typer_instance.info.name for one in cli.registered_groups if one.typer_instance}
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = "\n".join(page.read_text("utf-8") for page in PAGES if page.name != "CHANGELOG.md")
    fenced = "\n".join(block for _, block in pages.BLOCK.findall(text))
    named = set(re.findall(r"`(?:\.venv/bin/)?fortieth ([a-z]+)[^`\n]*`", text))
    named |= set(re.findall(r"(?:^|\$ |/bin/)fortieth ([a-z]+)", fenced, re.MULTILINE))
    made = set(re.findall(r"`make ([a-z-]+)", text)) | set(
        re.findall(r"^make ([a-z-]+)", fenced, re.MULTILINE)
    )
    assert {"serve", "repair", "demo"} <= named <= known
    assert {"serve", "test", "check"} <= made <= targets
