"""The bundle for a machine without a network: what is in it, its parts, the script that joins them."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.bench.gpu_bundle import (
    ARCHIVE,
    CUDA,
    INSTALL,
    PINNED,
    WANTED,
    locked,
    needed,
    pinned,
    target,
    write_parts,
)
from tests.bench.servers import ROOT

LOCK = """\
mlx==0.32.4 ; sys_platform == 'darwin' or sys_platform == 'linux'
mlx-cpu==0.32.4 ; sys_platform == 'linux'
mlx-cuda-13==0.32.4 ; sys_platform == 'linux'
mlx-metal==0.32.4 ; sys_platform == 'darwin'
numpy==2.4.6 ; python_full_version < '3.12'
numpy==2.5.5 ; python_full_version >= '3.12'
nvidia-cublas==13.10.0.20 ; sys_platform == 'linux'
# a comment
ruff==0.14.0
"""


@pytest.mark.parametrize(("python", "numpy"), [("3.11", "2.4.6"), ("3.12", "2.5.5"), ("3.13", "2.5.5")])
def test_the_lock_is_read_as_that_machine_does(python: str, numpy: str) -> None:
    found = locked(LOCK, target(python))
    assert found["numpy"] == numpy
    assert "mlx-metal" not in found


def test_what_is_not_needed_or_is_there_stays_out() -> None:
    lock = locked(LOCK, target("3.12"))
    names = {"mlx", "mlx-cpu", "numpy"}
    all_of_it = pinned(lock, names, [])
    assert all_of_it == ["mlx==0.32.4", "mlx-cuda-13==0.32.4", "numpy==2.5.5", "nvidia-cublas==13.10.0.20"]
    assert pinned(lock, names, ["nvidia-*"]) == all_of_it[:-1]
    assert pinned(lock, names, ["nvidia-*", "mlx-cuda-*"])[1] == "mlx-cpu==0.32.4", "one of the two backends"


def test_the_real_lock_has_all_that_is_needed() -> None:
    environment = target("3.12")
    lock = locked((ROOT / "requirements.lock").read_text(), environment)
    names = needed(WANTED, environment)
    assert names - set(lock) == {"fortieth", "pip"}
    assert {"mlx", "mlx-cpu", "mlx-lm", "llguidance", "scipy-openblas32", "pytest", "uvicorn"} <= names
    assert not {"ruff", "mypy", "atheris", "langchain-openai"} & names
    cuda = [one for one in pinned(lock, names, []) if one.startswith(tuple(kind[:-1] for kind in CUDA))]
    assert len(cuda) >= 5


STUB = """\
#!/bin/sh
# a Python that makes environments of itself, and writes down what pip is told and finds
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; exit; fi
for last; do :; done
echo "$*" > "$TOLD"; ls "$(dirname "$last")" >> "$TOLD"; cat "$last" >> "$TOLD"
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "a-1-py3-none-any.whl").write_bytes(os.urandom(30_000))
    (wheels / PINNED).write_text("a==1\n")
    parts = write_parts(wheels, tmp_path / "bundle", 12_000)
    assert [part.name for part in parts] == [f"{ARCHIVE}.{n:03}" for n in range(len(parts))]
    assert len(parts) == 4
    assert all(part.stat().st_size <= 12_000 for part in parts)
    return tmp_path / "bundle"


def install(bundle: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    python, told = folder / "python", folder / "told"
    python.write_text(STUB)
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "TOLD": str(told)}
    command = ["sh", str(bundle / "install.sh"), str(folder / "environment")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_parts_are_put_together_and_installed_without_an_index(bundle: Path, tmp_path: Path) -> None:
    done = install(bundle, tmp_path)
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "told").read_text()
    assert "--no-index --no-deps --find-links" in told
    assert told.splitlines()[1:] == ["a-1-py3-none-any.whl", PINNED, "a==1"]
    assert (tmp_path / "environment" / ".dev").exists(), "make takes it for installed"


def test_a_part_that_is_missing_or_damaged_ends_it(bundle: Path, tmp_path: Path) -> None:
    (bundle / f"{ARCHIVE}.001").write_bytes(b"x")
    assert "missing or damaged" in install(bundle, tmp_path).stderr
    (bundle / f"{ARCHIVE}.001").unlink()
    assert install(bundle, tmp_path).returncode == 1
    assert not (tmp_path / "environment").exists()


def test_the_archive_is_a_plain_one(bundle: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.tar"
    whole.write_bytes(b"".join(part.read_bytes() for part in sorted(bundle.glob(f"{ARCHIVE}.*"))))
    with tarfile.open(whole) as archive:
        assert archive.getnames() == ["a-1-py3-none-any.whl", PINNED]
    assert (bundle / "install.sh").read_text() == INSTALL
