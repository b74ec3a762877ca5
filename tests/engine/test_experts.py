"""Fewer experts for each token: what is computed, what is refused, and that the cache tells them apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models import qwen3_moe

from engine.config import EngineConfig
from engine.errors import EngineFailed
from engine.experts import fewer_experts
from engine.model import LoadedModel, load_model

EXPERTS, USED = 4, 3


@pytest.fixture(scope="module")
def experts(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's tokenizer with a random network of four experts a layer, three for each token."""
    path = tmp_path_factory.mktemp("models") / "experts"
    shutil.copytree(tiny, path)
    settings = json.loads((path / "config.json").read_text())
    settings |= {
        "model_type": "qwen3_moe",
        "num_experts": EXPERTS,
        "num_experts_per_tok": USED,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "moe_intermediate_size": 32,
        "norm_topk_prob": True,
    }
    (path / "config.json").write_text(json.dumps(settings))
    mx.random.seed(1)
    model = qwen3_moe.Model(qwen3_moe.ModelArgs.from_dict(settings))
    weights = {name: mx.random.normal(value.shape) * 0.3 for name, value in tree_flatten(model.parameters())}
    mx.save_safetensors(str(path / "model.safetensors"), weights, metadata={"format": "mlx"})
    return path


def loaded_with(path: Path, **config: Any) -> LoadedModel:
    return load_model(EngineConfig(model=str(path), **config), "none")


def logits(model: LoadedModel) -> np.ndarray[Any, Any]:
    return np.array(model.network(mx.array([[72, 101, 108, 108, 111]]))[0, -1])


def test_each_token_is_computed_by_so_many_experts(experts: Path) -> None:
    own = loaded_with(experts)
    asked: list[int] = []
    for top_k in (USED, 2, 1):
        model = loaded_with(experts, moe_top_k=top_k)
        blocks = [layer.mlp for layer in model.network.model.layers]
        assert [block.top_k for block in blocks] == [top_k] * len(blocks)
        asked.append(int(np.abs(logits(model) - logits(own)).max() > 1e-3))
    assert asked == [0, 1, 1]


def test_each_number_has_a_cache_of_its_own(experts: Path) -> None:
    prints = {loaded_with(experts, moe_top_k=top_k).info.fingerprint for top_k in (None, 2, 1)}
    assert len(prints) == 3


def test_more_than_the_model_uses_is_refused(experts: Path) -> None:
    with pytest.raises(EngineFailed, match="moe_top_k is 4, but the model uses 3 experts for each token"):
        loaded_with(experts, moe_top_k=EXPERTS)


def test_a_model_without_experts_is_refused(tiny: Path) -> None:
    with pytest.raises(EngineFailed, match="moe_top_k is 2, but the model has no experts to choose from"):
        loaded_with(tiny, moe_top_k=2)


def test_none_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="moe_top_k must be at least 1"):
        EngineConfig(model="m", moe_top_k=0)


def test_settings_of_an_inner_text_model_are_changed(tmp_path: Path) -> None:
    inner = {"moe_topk": 8, "hidden_size": 64}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "m", "text_config": inner}))
    assert fewer_experts(tmp_path, 2) == {"text_config": {"moe_topk": 2, "hidden_size": 64}}
    assert fewer_experts(tmp_path, None) == {}
