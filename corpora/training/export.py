"""`python -m corpora.training.export RUN OUT`: a trained run as a standard model directory.

config.json, generation_config.json, model.safetensors (fp32, MLX metadata), tokenizer.json with the chat
template: what mlx_lm.load and the other MLX servers read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from corpora.training.network import Shape
from corpora.training.tokenizer import save_tokenizer

MOST_TOKENS = 4096  # of an answer whose client sets no limit: right ones have hundreds


def export(run: Path, out: Path) -> None:
    """Write the directory from RUN/checkpoint.pt, RUN/bpe.json and RUN/shape.json."""
    out.mkdir(parents=True, exist_ok=True)
    shape = Shape(**json.loads((run / "shape.json").read_text()))
    state = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    weights = {name: tensor.float().contiguous() for name, tensor in state["network"].items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "mlx"})
    (out / "model.safetensors").chmod(0o644)  # safetensors keeps it to the owner
    tokenizer = Tokenizer.from_file(str(run / "bpe.json"))
    end = [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]
    config = shape.config() | {"eos_token_id": end, "pad_token_id": end[1]}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {"eos_token_id": end, "max_new_tokens": MOST_TOKENS}
    (out / "generation_config.json").write_text(json.dumps(generation) + "\n")
    save_tokenizer(tokenizer, out)


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
