"""What drivers share: a client is connected as `fortieth connect` says, and its tool tells what is due."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.clients.confine import available
from tests.clients.drivers.cli import run_cli
from tests.clients.drivers.common import Hung, Job
from tests.clients.environments import ROOT
from tests.clients.runs import Outcome, code_for, judge
from tests.clients.upstream import MODEL

URL = "http://127.0.0.1:1/v1"
GENERIC = {"api_key_env_var": "OPENAI_API_KEY", "api_style": "openai", "backend": "generic"}
# Shows what it was started with, and uses the shell as its model would.
AGENT = """\
#!/bin/sh
echo "$@"; echo "$OWN $VIBE_ACTIVE_MODEL"; cat "$HOME/.vibe/config.toml"
sh lookup.sh step 1; sh lookup.sh elsewhere; sh lookup.sh north
"""


def job(client: str, seconds: float = 20.0) -> Job:
    steps = [["step 1", "Step 1 is done."]]
    code = code_for(client, URL)
    return Job("t0", URL, MODEL, "Do it.", False, "token", "north", steps, client, code, seconds)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "vibe"
    program.write_text(AGENT)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return program


def test_an_agent_is_connected_as_it_is_told(agent: Path) -> None:
    one = job("vibe")
    own = {".vibe/config.toml": "[mine]\nx = 1\n"}
    said = run_cli(one, "-x", one.prompt, subcommand=["exec"], variables={"OWN": "own"}, files=own)
    started, variable, *rest = said.splitlines()
    assert started == "exec -x Do it."
    assert variable == "own fortieth"
    config = tomllib.loads("\n".join(rest[:-3]))
    assert config["mine"] == {"x": 1}
    assert config["providers"] == [{"name": "fortieth", "api_base": URL, **GENERIC}]
    assert rest[-3:] == ["Step 1 is done.", "There is no such place.", "CODE token"]
    assert one.executions == ["step 1", "elsewhere", "north"]


def test_an_agent_that_fails_or_stays_is_told(agent: Path) -> None:
    agent.write_text("#!/bin/sh\necho no >&2; exit 3\n")
    with pytest.raises(RuntimeError, match="exit code 3: no"):
        run_cli(job("vibe"))
    agent.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(Hung, match="not done in 0 s"):
        run_cli(job("vibe", seconds=0.3))


def test_a_run_whose_agent_was_ended_counts_as_hung(agent: Path) -> None:
    """Its driver has ended it, and lives on."""
    agent.write_text("#!/bin/sh\nsh lookup.sh north; exec sleep 60\n")
    program = (
        "from tests.clients.drivers.cli import run_cli; from tests.clients.drivers.common import drive; "
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program + "drive(run_cli)"],
        input=json.dumps(asdict(job("vibe", seconds=1.0))) + "\n",
        cwd=agent.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert judge(result, "token") is Outcome.hung
    assert result["executions"] == ["north"]


def test_a_library_is_connected_by_its_lines() -> None:
    made = job("openai").connected()
    assert (str(made.client.base_url), made.client.api_key, made.model) == (f"{URL}/", "none", MODEL)
    assert not hasattr(made, "__builtins__")


def test_a_tool_of_ours_tells_the_steps() -> None:
    one = job("openai")
    assert [one.execute(got) for got in ("step 1", "x", "north")] == [
        "Step 1 is done.",
        "There is no such place.",
        "CODE token",
    ]
    assert one.executions == ["step 1", "x", "north"]


@pytest.mark.skipif(not available(), reason="the kernel has no Landlock")
def test_what_a_real_model_runs_can_write_in_its_folder_alone(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "kept").write_text("kept")
    command = f"cd {inside}; echo a > b; mv b c; mkdir d; mv c d/e; rm -rf {outside}; echo x > {outside}/kept"
    command += f"; echo f > {outside}/g; cat {outside}/kept d/e > /dev/null; sh -c 'echo y >> {outside}/kept'"
    program = [sys.executable, "-m", "tests.clients.confine", str(inside), "sh", "-c", command]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Permission denied" in done.stderr
    assert (inside / "d/e").read_text() == "a\n"
    assert [one.name for one in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "kept"
