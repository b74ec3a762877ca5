"""The mean of two models' weights: `python -m corpora.training.blend BEFORE AFTER OUT [--share 0.9]`.

A model that was trained on something more loses a little of what it could; the mean with the weights before
gives back most of that for little of what was won (Wortsman et al., 2022, https://arxiv.org/abs/2109.01903).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def blend(before: dict[str, Tensor], after: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """share: of the weights after. Raises ValueError where the two are no models of one shape."""
    shapes = [{name: tensor.shape for name, tensor in one.items()} for one in (before, after)]
    if shapes[0] != shapes[1]:
        raise ValueError("the models have different shapes")
    return {name: torch.lerp(before[name], after[name], share).contiguous() for name in before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path, help="a model directory")
    parser.add_argument("after", type=Path, help="a model directory; all but the weights is copied from it")
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.9, help="of the weights after")
    options = parser.parse_args()
    before, after = (load_file(path / "model.safetensors") for path in (options.before, options.after))
    weights = blend(before, after, options.share)
    shutil.copytree(options.after, options.out, dirs_exist_ok=True)
    save_file(weights, options.out / "model.safetensors", metadata={"format": "mlx"})


if __name__ == "__main__":
    main()
