"""`python -m tests.bench.quickstart`: docs/quickstart.md typed as it stands, with Python and uv only.

The commands of its first three sections are run in a copy of the repository, with a home of their own and a
PATH that holds uv and the system's programs. uv's cache is filled first, so that nothing is downloaded then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.system.pages import HOST, ROOT, blocks, commands

PORT = "18940"  # so that a server of the user's own stays alone
LAST = "3. A broken call, repaired"
OTHER_WAYS = ("make serve", "fortieth demo")
READY_S = 300


def typed() -> list[str]:
    """The page's commands, in order."""
    found = []
    for block in blocks("docs/quickstart.md"):
        if not block.language:
            found += [command for command in commands(block.text) if command not in OTHER_WAYS]
        if block.section == LAST and "fortieth repair" in block.text:
            break
    return found


def shell(command: str, folder: Path, variables: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=variables, capture_output=True, text=True, check=True
    )
    return done.stdout


def serve(command: str, folder: Path, variables: Mapping[str, str]) -> subprocess.Popen[str]:
    """The server, once it says that it is ready."""
    process = subprocess.Popen(
        command.split(),
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    if not any("try it" in line for line in process.stdout):
        raise SystemExit("the server has ended before it was ready")
    return process


def main() -> None:
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is not on the PATH")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        programs = home / ".local/bin"
        programs.mkdir(parents=True)
        (home / "uv").mkdir()
        (home / "uv/uv").symlink_to(uv)
        kept = {key: value for key, value in os.environ.items() if key.startswith(("UV_", "LANG", "SSL_"))}
        path = os.pathsep.join([str(programs), str(home / "uv"), "/usr/local/bin", "/usr/bin", "/bin"])
        variables = {
            "HOME": name,
            "PATH": path,
            "FORTIETH_PORT": PORT,
            "UV_CACHE_DIR": f"{name}/cache",
            **kept,
        }
        folder = home / "fortieth"
        shell(f"git clone -q '{ROOT}' '{folder}'", home, variables)
        shell("uv tool install . && uv tool uninstall fortieth", folder, variables)
        run(folder, variables)


def run(folder: Path, variables: Mapping[str, str]) -> None:
    server: subprocess.Popen[str] | None = None
    begun = time.monotonic()
    try:
        for command in typed():
            at = time.monotonic()
            if command == "fortieth serve":
                server, said = serve(f"{variables['HOME']}/.local/bin/{command}", folder, variables), ""
            else:
                said = shell(command.replace(HOST, f"http://127.0.0.1:{PORT}"), folder, variables)
            verdicts = [line for line in said.splitlines() if "verdict" in line]
            seconds = time.monotonic() - at
            print(f"{seconds:6.1f} s  {command.splitlines()[0][:60]}  {verdicts[0][:40] if verdicts else ''}")
            if "fortieth repair" in command:
                break
        print(f"{time.monotonic() - begun:6.1f} s  in all, to the first repaired call")
    finally:
        if server is not None:
            server.terminate()
            server.wait(READY_S)


if __name__ == "__main__":
    main()
