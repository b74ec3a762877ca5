"""The fast BLAS on Linux: built once, found by MLX, and never a reason not to serve."""

from __future__ import annotations

import ctypes
import logging
import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.cpu import blas
from engine.process import child_environment

ROW_MAJOR, PLAIN, TURNED = 101, 111, 112  # of cblas.h
Floats = np.ndarray[Any, np.dtype[np.float32]]
PRODUCT = """
import sys
from engine.cpu.blas import prepare_blas
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

ROOT = Path(__file__).parents[3]


def library() -> Path:
    spec = util.find_spec(blas.PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "lib" / blas.LIBRARY


def multiply(setting: str, cache: Path) -> list[str]:
    """What a fresh process says that prepares the BLAS and multiplies with MLX."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PRODUCT, setting],
        env={**child_environment(), "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)},
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


@pytest.fixture(scope="module")
def forwarder(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return ctypes.CDLL(str(blas.forwarding_library(library(), tmp_path_factory.mktemp("blas"))))


def pointer(array: Floats) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize(
    ("depth", "columns"), [(320, 896), (320, 3125), (896, 320), (1024, 700), (1030, 33), (7, 5)]
)
def test_products_in_pieces_are_the_product(
    forwarder: ctypes.CDLL, depth: int, columns: int, beta: float, turned: bool
) -> None:
    """Of matrices that are parts of wider ones, too."""
    random = np.random.default_rng(depth)
    for rows in (1, 2, 4, 8, 15, 16, 17, 31, 32, 33, 70):
        a = random.standard_normal((rows, depth + 3), np.float32)
        b = random.standard_normal((columns, depth + 5) if turned else (depth, columns + 5), np.float32)
        c = random.standard_normal((rows, columns + 2), np.float32)
        matrix = b[:, :depth].T if turned else b[:, :columns]
        expected = a[:, :depth].astype(np.float64) @ matrix + beta * c[:, :columns]
        beside = c[:, columns:].copy()
        forwarder.cblas_sgemm(
            *(ROW_MAJOR, PLAIN, TURNED if turned else PLAIN, rows, columns, depth),
            *(ctypes.c_float(1.0), pointer(a), a.shape[1], pointer(b), b.shape[1]),
            *(ctypes.c_float(beta), pointer(c), c.shape[1]),
        )
        np.testing.assert_allclose(c[:, :columns], expected, atol=2e-3)
        assert (c[:, columns:] == beside).all()


@pytest.mark.parametrize(
    ("rows", "columns", "depth", "turned", "at_a_time"),
    [
        (8, 320, 320, False, 320),  # small as it is
        (8, 896, 320, False, 384),
        (8, 320, 896, False, 128),
        (16, 320, 896, False, 320),  # the pieces would be too narrow
        (1, 4096, 320, False, 3120),
        (33, 896, 320, False, 896),  # many rows are worth the copy
        (8, 896, 320, True, 896),
        (8, 3072, 1024, True, 112),
        (32, 1024, 3072, True, 1024),
    ],
)
def test_what_is_computed_in_pieces(
    forwarder: ctypes.CDLL, rows: int, columns: int, depth: int, turned: bool, at_a_time: int
) -> None:
    forwarder.scipy_openblas_set_num_threads(1)
    kind = TURNED if turned else PLAIN
    expected = at_a_time if forwarder.fortieth_pieces() else columns
    assert forwarder.fortieth_columns(ROW_MAJOR, PLAIN, kind, rows, columns, depth) == expected
    assert forwarder.fortieth_columns(ROW_MAJOR, TURNED, kind, rows, columns, depth) == columns
    forwarder.scipy_openblas_set_num_threads(2)  # which share a large product, and no small one
    assert forwarder.fortieth_columns(ROW_MAJOR, PLAIN, kind, rows, columns, depth) == columns
    forwarder.scipy_openblas_set_num_threads(1)


def test_without_compiler_and_library_one_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)
    monkeypatch.delitem(sys.modules, "mlx.core", raising=False)
    with caplog.at_level(logging.WARNING, "engine.cpu.blas"):
        assert blas.prepare_blas("auto") == blas.REFERENCE
    (record,) = caplog.records
    assert "no C compiler" in record.message
    assert "no libopenblas" in record.message


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "fortieth").write_text("a file where a folder should be")
    name, right, loaded = multiply("auto", tmp_path)
    assert "scipy-openblas32" in name
    assert (right, loaded) == ("True", "True")
