"""Which of MLX's backends computes.

On Linux each is a wheel of its own, and all bring one file, `mlx/lib/libmlx.so`: what is installed last
computes.
"""

from __future__ import annotations

from importlib.metadata import distributions

import mlx.core as mx

CUDA_WHEELS = "mlx-cuda-"  # mlx-cuda-12, mlx-cuda-13


def idle_gpu() -> str | None:
    """Why the CPU computes though a CUDA wheel of MLX is installed, and what puts that right. None where a
    GPU computes, or where no such wheel is.
    """
    if mx.default_device().type != mx.DeviceType.cpu:
        return None
    wheels = sorted((one.name, one.version) for one in distributions() if one.name.startswith(CUDA_WHEELS))
    if not wheels:
        return None
    name, version = wheels[0]
    if mx.cuda.is_available():
        return f"{name} is installed and finds no GPU: the model is computed on the CPU"
    return (
        f"{name} is installed, but another wheel of MLX has replaced its library: the model is computed on "
        f"the CPU. `pip install --force-reinstall --no-deps {name}=={version}` puts it back"
    )
