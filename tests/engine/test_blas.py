"""The fast BLAS on Linux: built once, found by MLX, and never a reason not to serve."""

from __future__ import annotations

import ctypes
import logging
import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

from engine import blas
from engine.process import child_environment

PRODUCT = """
import sys
from engine.blas import prepare_blas
print(prepare_blas(sys.argv[1]))
import mlx.core as mx
a = mx.arange(600 * 500).reshape(600, 500).astype(mx.float32) % 7
b = mx.arange(500 * 400).reshape(500, 400).astype(mx.float32) % 5
c = a @ b
exact = (a.astype(mx.int32)[:3, :, None] * b.astype(mx.int32)[None]).sum(axis=1)
print(bool(mx.all(c[:3] == exact.astype(mx.float32))))
loaded = open("/proc/self/maps").read()
print("scipy_openblas" in loaded)
"""


def library() -> Path:
    spec = util.find_spec(blas.PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "lib" / blas.LIBRARY


def multiply(setting: str, cache: Path) -> list[str]:
    """What a fresh process says that prepares the BLAS and multiplies with MLX."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PRODUCT, setting],
        env={**child_environment(), "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_mlx_multiplies_with_it_and_gets_the_same(tmp_path: Path) -> None:
    name, right, loaded = multiply("auto", tmp_path)
    assert "scipy-openblas32" in name
    assert (right, loaded) == ("True", "True")
    built = list((tmp_path / "fortieth").iterdir())
    assert len(built) == 1, "nothing temporary is left"
    before = built[0].stat().st_mtime_ns
    assert multiply("auto", tmp_path)[1] == "True"
    assert built[0].stat().st_mtime_ns == before, "built once"


def test_off_leaves_mlx_alone(tmp_path: Path) -> None:
    assert multiply("off", tmp_path) == [blas.REFERENCE, "True", "False"]
    assert not (tmp_path / "fortieth").exists()


def test_the_forwarder_defines_the_plain_names(tmp_path: Path) -> None:
    loaded = ctypes.CDLL(str(blas.forwarding_library(library(), tmp_path)))
    assert all(hasattr(loaded, name) for name in blas.SYMBOLS)


def test_without_compiler_and_library_one_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)
    monkeypatch.delitem(sys.modules, "mlx.core", raising=False)
    with caplog.at_level(logging.WARNING, "engine.blas"):
        assert blas.prepare_blas("auto") == blas.REFERENCE
    (record,) = caplog.records
    assert "no C compiler" in record.message
    assert "no libopenblas" in record.message


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "fortieth").write_text("a file where a folder should be")
    name, right, loaded = multiply("auto", tmp_path)
    assert "scipy-openblas32" in name
    assert (right, loaded) == ("True", "True")
