"""`make bench-products`: products of few rows by OpenBLAS, whole and in pieces of columns, for both orders of
the matrix; beside them what engine/cpu/products.c chooses. For Linux CPUs. Each call from here costs some
microseconds of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.cpu.blas import limit_threads
from tests.bench.engine import blas_library

SHAPES = (
    (320, 896),
    (896, 320),
    (320, 4096),
    (256, 768),
    (512, 2048),
    (1024, 1024),
    (1024, 3072),
    (3072, 1024),
)
ROWS = (1, 4, 8, 16, 32)
MATRICES = 12  # one after the other: together they do not fit into the core's cache
ROW_MAJOR, PLAIN, TURNED = 101, 111, 112  # of cblas.h
SMALL = 1_000_000  # multiplications of one piece

Floats = np.ndarray[Any, np.dtype[np.float32]]


def multiply(blas: ctypes.CDLL, a: Floats, matrix: Floats, turned: bool, c: Floats, columns: int) -> None:
    """c = a @ matrix, or its transpose, so many columns at a time."""
    rows, depth = a.shape
    for at in range(0, c.shape[1], columns):
        start = at * matrix.shape[1] if turned else at
        blas.scipy_cblas_sgemm(
            *(ROW_MAJOR, PLAIN, TURNED if turned else PLAIN),
            *(rows, min(columns, c.shape[1] - at), depth),
            *(ctypes.c_float(1.0), ctypes.c_void_p(a.ctypes.data), depth),
            *(ctypes.c_void_p(matrix.ctypes.data + 4 * start), matrix.shape[1]),
            *(ctypes.c_float(0.0), ctypes.c_void_p(c.ctypes.data + 4 * at), c.shape[1]),
        )


def microseconds(work: Callable[[Floats], None], matrices: Sequence[Floats], rounds: int) -> float:
    """Of one product; the median of the rounds behind the first."""
    taken = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        for matrix in matrices:
            work(matrix)
        taken.append((time.perf_counter() - begun) / len(matrices) * 1e6)
    return statistics.median(taken[1:])


def measure(blas: ctypes.CDLL, depth: int, width: int, rows: int, rounds: int) -> str:
    """A row of the table."""
    random = np.random.default_rng(depth)
    a = random.standard_normal((rows, depth), np.float32)
    c = np.empty((rows, width), np.float32)
    piece = SMALL // (rows * depth)
    piece -= piece % 16 if piece > 16 else 0
    cells = []
    for turned in (False, True):
        shape = (width, depth) if turned else (depth, width)
        matrices = [random.standard_normal(shape, np.float32) for _ in range(MATRICES)]
        for columns in (width, min(piece, width)):

            def work(matrix: Floats, turned: bool = turned, columns: int = columns) -> None:
                multiply(blas, a, matrix, turned, c, columns)

            cells.append(f"{microseconds(work, matrices, rounds):.0f}")
        chosen = blas.fortieth_columns(ROW_MAJOR, PLAIN, TURNED if turned else PLAIN, rows, width, depth)
        cells.append("whole" if chosen == width else f"{chosen} columns")
    return " | ".join([f"{depth} x {width}", str(rows), *cells])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    limit_threads()
    library = blas_library()
    if library is None:
        sys.exit("there is no OpenBLAS to forward to")
    blas = ctypes.CDLL(str(library))
    blas.scipy_openblas_get_corename.restype = ctypes.c_char_p
    print(f"OpenBLAS's kernels: {blas.scipy_openblas_get_corename().decode()}; microseconds of one product\n")
    print("| in x out | rows | [in, out] whole | in pieces | chosen | [out, in] whole | in pieces | chosen |")
    print("|---|--:|--:|--:|---|--:|--:|---|")
    for depth, width in SHAPES:
        for rows in ROWS:
            print(f"| {measure(blas, depth, width, rows, options.rounds)} |", flush=True)


if __name__ == "__main__":
    main()
