"""Runs bench_forced with the BLAS that a server would use: `python -m tests.bench.forced [--bfcl FOLDER]`."""

from __future__ import annotations

from engine.cpu.blas import prepare_blas


def main() -> None:
    print(f"BLAS: {prepare_blas('auto')}\n")
    from tests.bench.forced_calls import main as run  # brings in MLX, which must find the BLAS

    run()


if __name__ == "__main__":
    main()
