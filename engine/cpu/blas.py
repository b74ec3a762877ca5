"""A fast BLAS for MLX on Linux CPUs.

MLX's Linux wheel links the reference BLAS, which reaches about a thirtieth of what the machine can do. The
dynamic linker takes the first definition of a symbol that it finds, so an optimised library which is loaded
globally before MLX is imported replaces the routines that MLX calls. `scipy-openblas32` has these under a
`scipy_` prefix: a small library that forwards the seven names is compiled at first use and cached per user.
It computes products of few rows in pieces (products.c).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path

log = logging.getLogger("engine.cpu.blas")

SYMBOLS = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm", "sgetrf_", "dgetrf_", "spotrf_", "dpotrf_")
PACKAGE = "scipy_openblas32"
LIBRARY = "libscipy_openblas.so"
PRODUCTS = Path(__file__).with_name("products.c")  # defines cblas_sgemm
REFERENCE = "reference"
SMALL_MACHINE = 4  # cores up to which one BLAS thread is best, beside the proxy's process

# A jump keeps registers and stack as the caller left them, so one line serves every signature.
FORWARD = {
    "x86_64": "endbr64; jmp scipy_{name}@PLT",
    "aarch64": "b scipy_{name}",
}


class BlasUnavailable(Exception):
    """Why no fast BLAS could be used."""


def prepare_blas(setting: str) -> str:
    """Loads a fast BLAS into this process, before MLX is imported; returns a description of what is in use.

    Never raises: without a compiler or a library the engine serves slowly, and one warning says so.

    setting: "off" leaves MLX's own.
    """
    if sys.platform != "linux":
        return "system"
    if setting == "off":
        return REFERENCE
    if "mlx.core" in sys.modules:
        return f"{REFERENCE} (MLX was imported first)"
    limit_threads()
    reasons: list[str] = []
    for load in (load_scipy_openblas, load_installed_openblas):
        try:
            return load()
        except (BlasUnavailable, OSError, RuntimeError, subprocess.SubprocessError) as error:
            reasons.append(str(error))
    log.warning("no fast BLAS, prefill on the CPU will be about ten times slower: %s", "; ".join(reasons))
    return REFERENCE


def keep_float32() -> None:
    """Keeps products of float32 exact on a GPU. To be called before MLX multiplies; a setting of the user's
    stays.

    By default MLX shortens their factors to 10 bits behind the point (TF32) where the GPU is faster with
    that, and a batch then rounds differently from a request alone. Models of 16 bits are not affected.
    """
    os.environ.setdefault("MLX_ENABLE_TF32", "0")


def limit_threads() -> None:
    """Limits OpenBLAS's threads, which it reads when it is loaded. A setting of the user's stays."""
    if (os.cpu_count() or 1) <= SMALL_MACHINE:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def load_scipy_openblas() -> str:
    """Compiles (once) and loads the forwarding library. Raises BlasUnavailable, OSError, SubprocessError."""
    spec = util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise BlasUnavailable("the package scipy-openblas32 is not installed")
    library = Path(spec.origin).parent / "lib" / LIBRARY
    if not library.is_file():
        raise BlasUnavailable(f"{library} does not exist")
    load_forwarder(library)
    return f"openblas {metadata.version('scipy-openblas32')} (scipy-openblas32)"


def load_forwarder(library: Path) -> None:
    """Loads the forwarder from the user's cache, or, where that cannot be written, built for this process
    alone.
    """
    try:
        ctypes.CDLL(str(forwarding_library(library, cache_directory())), mode=ctypes.RTLD_GLOBAL)
    except (OSError, RuntimeError):
        with tempfile.TemporaryDirectory() as folder:
            ctypes.CDLL(str(forwarding_library(library, Path(folder))), mode=ctypes.RTLD_GLOBAL)


def in_pieces() -> bool:
    """Whether products of few rows are computed in pieces: the forwarder is loaded, and pieces are faster on
    this machine.
    """
    asked = getattr(ctypes.CDLL(None), "fortieth_pieces", None) if sys.platform == "linux" else None
    return asked is not None and bool(asked())


def load_installed_openblas() -> str:
    """Loads a distribution's OpenBLAS, whose symbols have plain names. Raises BlasUnavailable, OSError."""
    name = ctypes.util.find_library("openblas")
    if name is None:
        raise BlasUnavailable("no libopenblas is installed")
    loaded = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    missing = [symbol for symbol in SYMBOLS if not hasattr(loaded, symbol)]
    if missing:
        raise BlasUnavailable(f"{name} lacks {', '.join(missing)}")
    return f"openblas ({name})"


def forwarding_library(library: Path, folder: Path) -> Path:
    """The compiled forwarder for `library` in `folder`, built if needed. Raises BlasUnavailable, OSError."""
    machine = os.uname().machine
    if machine not in FORWARD:
        raise BlasUnavailable(f"no forwarding code for {machine}")
    source = forwarding_source(machine)
    key = hashlib.sha256(f"{source}\0{library}\0{library.stat().st_mtime_ns}".encode()).hexdigest()[:16]
    target = folder / f"libfortieth-blas-{key}.so"
    if not target.is_file():
        build(source, library, target)
    return target


def forwarding_source(machine: str) -> str:
    """One global function per symbol: our own product, and jumps to the prefixed routines (AT&T or A64
    assembly).
    """
    lines = [".text"]
    for name in SYMBOLS[1:]:
        jump = FORWARD[machine].format(name=name)
        lines.append(f".globl {name}\\n.type {name},%function\\n{name}: {jump}\\n.size {name},.-{name}")
    return "\n".join(f'__asm__("{line}\\n");' for line in lines) + "\n" + PRODUCTS.read_text("utf-8")


def build(source: str, library: Path, target: Path) -> None:
    """Compiles into a temporary file beside `target`, then renames it: two processes may build at once."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise BlasUnavailable("no C compiler (cc, gcc, clang) to build the BLAS forwarder with")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        code = Path(folder) / "forward.c"
        code.write_text(source)
        built = Path(folder) / "forward.so"
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(built), str(code), str(library)]
        command += [f"-Wl,-rpath,{library.parent}", "-Wl,-z,noexecstack"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise BlasUnavailable(f"{compiler} failed: {done.stderr.strip().splitlines()[-1:]}")
        built.replace(target)


def cache_directory() -> Path:
    """The cache folder of the user, as the XDG base directory specification has it. Raises RuntimeError
    without a home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fortieth"
