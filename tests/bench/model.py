"""The models that the engine is measured with: ten million random weights, and the bundled one.

Both write on to their limit: every token is computed, by whoever serves them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models import qwen3

from engine.resolve import BUNDLED, MODELS
from tests.engine.tiny import make_tokenizer

VOCABULARY = 4096  # the tokenizer has 261 tokens, the rest stand for no text
CONTEXT = 8192
NEVER_WRITTEN = "</tools>"  # stands in prompts only


LETTERS = {
    "hidden_size": 320,
    "num_hidden_layers": 6,
    "intermediate_size": 896,
    "num_attention_heads": 5,
    "num_key_value_heads": 5,
    "head_dim": 64,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
}
# Qwen3-0.6B, whose output matrix is its embedding: here it has one of its own, read once a step as that is
QWEN3_0_6B = {
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151_936,
    "max_position_embeddings": 32_768,
}


def make_model(path: Path, shape: dict[str, int] = LETTERS, dtype: mx.Dtype = mx.float32) -> Path:
    """Write the directory, unless it is there: config, safetensors, tokenizer with a chat template.

    Only small letters ever win in it: every token is a character, and none may begin a marker, which servers
    hold back until they know.
    """
    if (path / "model.safetensors").is_file():
        return path
    path.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    config = {
        "model_type": "qwen3",
        **shape,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
        "eos_token_id": tokenizer.eos_token_id,
    }
    mx.random.seed(0)
    model = qwen3.Model(qwen3.ModelArgs.from_dict(config))
    weights = {
        name: (mx.random.normal(value.shape) * 0.05).astype(dtype)
        for name, value in tree_flatten(model.parameters())
    }
    rows = mx.arange(shape["vocab_size"])[:, None]
    letters = mx.logical_and(rows >= ord("a"), rows <= ord("z"))
    head = weights["lm_head.weight"]
    weights["lm_head.weight"] = mx.where(letters, head, mx.zeros_like(head))
    mx.save_safetensors(str(path / "model.safetensors"), weights, metadata={"format": "mlx"})
    (path / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(path)
    return path


def make_endless(path: Path) -> Path:
    """The bundled model, anew, with another end token: one that it never writes."""
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(MODELS / BUNDLED[0], path)
    added = json.loads((path / "tokenizer.json").read_text())["added_tokens"]
    (end,) = (token["id"] for token in added if token["content"] == NEVER_WRITTEN)
    for name, field, value in (
        ("config.json", "eos_token_id", end),
        ("tokenizer_config.json", "eos_token", NEVER_WRITTEN),
    ):
        settings = json.loads((path / name).read_text())
        (path / name).write_text(json.dumps({**settings, field: value}))
    return path
