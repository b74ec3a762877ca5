"""Loading, and telling models apart."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from engine.config import EngineConfig
from engine.cpu.blas import keep_float32
from engine.model import LoadedModel, context_length, fingerprint, load_model
from engine.resolve import bundled
from engine.tuning import CPU, CUDA, METAL, keep_plans, tuning_for
from tests.engine.tiny import make_model


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def tensors(model: Path) -> dict[str, mx.array]:
    loaded = mx.load(str(model / "model.safetensors"))
    assert isinstance(loaded, dict)
    return loaded


def test_a_copy_is_the_same_model(tiny: Path, copy: Path) -> None:
    assert fingerprint(copy, "float32") == fingerprint(tiny, "float32")
    assert fingerprint(copy, "bfloat16") != fingerprint(tiny, "float32")


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
)
def test_any_change_of_a_file_makes_another_model(tiny: Path, copy: Path, name: str) -> None:
    with (copy / name).open("a") as file:
        file.write(" ")
    assert fingerprint(copy, "") != fingerprint(tiny, "")


def test_other_weights_of_the_same_shapes_make_another_model(tiny: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other", seed=1)
    assert fingerprint(other, "") != fingerprint(tiny, "")


def test_one_changed_tensor_makes_another_model(tiny: Path, copy: Path) -> None:
    weights = tensors(copy)
    weights["model.norm.weight"] = weights["model.norm.weight"] + 1
    mx.save_safetensors(str(copy / "model.safetensors"), weights, metadata={"format": "mlx"})
    assert fingerprint(copy, "") != fingerprint(tiny, "")


@pytest.mark.parametrize(
    ("dtype", "expected"), [("auto", "float32"), ("keep", "bfloat16"), ("float16", "float16")]
)
def test_half_precision_weights_compute_in_what_is_asked(copy: Path, dtype: str, expected: str) -> None:
    file = str(copy / "model.safetensors")
    halves = {name: value.astype(mx.bfloat16) for name, value in tensors(copy).items()}
    mx.eval(halves)
    mx.save_safetensors(file, halves, metadata={"format": "mlx"})
    if mx.default_device().type != mx.DeviceType.cpu and dtype == "auto":
        expected = "bfloat16"
    assert load_model(EngineConfig(model=str(copy), dtype=dtype), "").info.dtype == expected


def test_end_tokens_come_from_the_generation_config_too(copy: Path) -> None:
    (copy / "generation_config.json").write_text(json.dumps({"eos_token_id": [256, 258]}))
    assert load_model(EngineConfig(model=str(copy)), "").info.eos_token_ids == (256, 258)


def test_the_context_may_be_limited(tiny: Path) -> None:
    assert load_model(EngineConfig(model=str(tiny), context_limit=100), "").info.context_length == 100


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"text_config": {"max_position_embeddings": 8192}}, 8192),
        ({"max_position_embeddings": None, "text_config": None, "n_positions": 1024}, 1024),
        ({}, 32768),
    ],
)
def test_context_length(settings: dict[str, object], expected: int) -> None:
    assert context_length(settings) == expected


@pytest.mark.skipif(mx.default_device().type != mx.DeviceType.cpu, reason="for CPUs only")
def test_quantised_weights_are_unpacked_on_a_cpu_and_mean_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    config = EngineConfig(model=str(bundled("fortieth-tiny-4bit")))
    tokens = mx.array([list(range(3, 40))])
    unpacked = load_model(config, "")
    monkeypatch.setattr("engine.model.UNPACKED_SHARE", 2**40)  # nothing fits
    packed = load_model(config, "")
    assert packed.info.fingerprint != unpacked.info.fingerprint
    assert packed.info.parameters == unpacked.info.parameters
    assert not any(name.endswith("scales") for name, _ in tree_flatten(unpacked.network.parameters()))
    assert any(name.endswith("scales") for name, _ in tree_flatten(packed.network.parameters()))
    same = mx.allclose(packed.network(tokens), unpacked.network(tokens), rtol=0.0, atol=1e-3)
    assert same.item()


@pytest.mark.parametrize(("asked", "kept"), [(None, "0"), ("1", "1"), ("0", "0")])
def test_products_stay_exact_unless_the_user_has_it_otherwise(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, kept: str
) -> None:
    monkeypatch.delenv("MLX_ENABLE_TF32", raising=False)
    if asked is not None:
        monkeypatch.setenv("MLX_ENABLE_TF32", asked)
    keep_float32()
    assert os.environ["MLX_ENABLE_TF32"] == kept


@pytest.mark.parametrize(("asked", "kept"), [(None, "1024"), ("300", "300")])
def test_more_plans_are_kept_unless_the_user_has_it_otherwise(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, kept: str
) -> None:
    monkeypatch.delenv("MLX_CUDA_SDPA_CACHE_SIZE", raising=False)
    if asked is not None:
        monkeypatch.setenv("MLX_CUDA_SDPA_CACHE_SIZE", asked)
    keep_plans()
    assert os.environ["MLX_CUDA_SDPA_CACHE_SIZE"] == kept


def test_products_of_float32_are_exact() -> None:
    """Fails on GPUs only, where MLX would take factors of 10 bits behind the point."""
    little = 1 + 2.0**-20
    for rows in (1, 5, 64):
        product = mx.full((rows, 256), little) @ mx.eye(256)
        assert mx.all(product == little).item()


def test_each_device_has_its_tuning(loaded: LoadedModel) -> None:
    assert [tuning_for(device) for device in ("cpu", "metal", "cuda")] == [CPU, METAL, CUDA]
    assert CPU.chunks is METAL.chunks is None
    if mx.default_device().type == mx.DeviceType.cpu:
        assert loaded.tuning == CPU
