"""Model directories of random weights: attention, sliding window, hybrid. A character is a token."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from engine.resolve import BUNDLED, MODELS
from tests.bench.cache_sessions import KINDS
from tests.engine.tiny import make_tokenizer

CONTEXT = 32768
PRINTABLE = {str(token): 60.0 for token in range(32, 127)}  # logit_bias: answers of readable text, no end


def model_path(kind: str, folder: Path) -> Path:
    """The directory of a model, made in `folder` where it is not the bundled one."""
    if kind == "bundled":
        return MODELS / BUNDLED[0]
    path = folder / kind
    if (path / "model.safetensors").is_file():
        return path
    path.mkdir(parents=True, exist_ok=True)
    mx.random.seed(0)
    network = KINDS[kind]()
    tokenizer = make_tokenizer()
    config: dict[str, Any] = {
        name: value for name, value in asdict(network.args).items() if value is not None
    }
    config |= {"eos_token_id": tokenizer.eos_token_id, "max_position_embeddings": CONTEXT}
    weights = {
        name: mx.random.normal(value.shape) * 0.05 for name, value in tree_flatten(network.parameters())
    }
    if "lm_head.weight" in weights:  # servers without logit_bias should not end their answers either
        head = weights["lm_head.weight"]
        rows = mx.arange(head.shape[0])[:, None]
        weights["lm_head.weight"] = mx.where(mx.logical_and(rows >= 32, rows < 127), head, 0.0)
    mx.save_safetensors(str(path / "model.safetensors"), weights, metadata={"format": "mlx"})
    (path / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(path)
    return path
