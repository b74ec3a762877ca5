"""A CUDA wheel that does not compute is told, with what puts it right."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from engine.backends import idle_gpu

VERSION = "0.32.4"

pytestmark = pytest.mark.skipif(mx.default_device().type != mx.DeviceType.cpu, reason="for CPUs only")


def install(folder: Path, name: str) -> None:
    """What an installer leaves of a wheel, as far as Python can tell."""
    info = folder / f"{name.replace('-', '_')}-{VERSION}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {VERSION}\n", encoding="utf-8"
    )


def test_a_cpu_alone_is_nothing_to_tell() -> None:
    assert idle_gpu() is None


@pytest.mark.parametrize("wheel", ["mlx-cuda-12", "mlx-cuda-13"])
def test_a_replaced_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: str) -> None:
    install(tmp_path, wheel)
    monkeypatch.syspath_prepend(str(tmp_path))
    told = idle_gpu()
    assert told is not None
    assert f"--force-reinstall --no-deps {wheel}=={VERSION}`" in told


def test_a_wheel_without_a_gpu_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "mlx-cuda-13")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(mx.cuda, "is_available", lambda: True)
    told = idle_gpu()
    assert told is not None
    assert "finds no GPU" in told
    assert "reinstall" not in told
