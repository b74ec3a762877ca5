"""Runs cache_sessions, or growth, with the BLAS of a server: `python -m tests.bench.cache [growth]`."""

from __future__ import annotations

import sys

from engine.cpu.blas import keep_float32, prepare_blas


def main() -> None:
    keep_float32()
    print(f"BLAS: {prepare_blas('auto')}\n")
    # these bring in MLX, which must find the BLAS
    if sys.argv[1:2] == ["growth"]:
        from tests.bench.growth import main as growth

        growth(sys.argv[2:])
        return
    from tests.bench.cache_sessions import main as run

    run()


if __name__ == "__main__":
    main()
