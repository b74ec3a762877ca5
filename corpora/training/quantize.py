"""`python -m corpora.training.quantize MODEL BITS [OUT]`: a model directory in 2 to 8 bits.

mlx_lm's own converter, affine quantisation in groups of 64 weights. OUT is MODEL with `-4bit` and the like
appended, unless given.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

GROUP = 64
#: what the converter writes again, though a quantised model speaks exactly as the full one
SAME = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def quantize(model: Path, bits: int, out: Path) -> None:
    """Write the quantised directory in place of an older one. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model"
        command = [
            sys.executable,
            "-m",
            "mlx_lm",
            "convert",
            "--hf-path",
            str(model),
            "--mlx-path",
            str(made),
        ]
        command += ["--quantize", "--q-bits", str(bits), "--q-group-size", str(GROUP)]
        subprocess.run(command, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
        out.mkdir(parents=True, exist_ok=True)
        for source in (made / "config.json", made / "model.safetensors", *(model / name for name in SAME)):
            shutil.copyfile(source, out / source.name)
            (out / source.name).chmod(0o644)


def main(arguments: list[str]) -> None:
    model, bits = Path(arguments[0]), int(arguments[1])
    quantize(model, bits, Path(arguments[2]) if len(arguments) > 2 else Path(f"{model}-{bits}bit"))


if __name__ == "__main__":
    main(sys.argv[1:])
