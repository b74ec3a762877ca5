"""The three bundled models are one: the quantised directories belong to the full one beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from engine.resolve import BUNDLED, MODELS

FULL, *QUANTISED = (MODELS / name for name in BUNDLED)
SAME = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
MEGABYTE = 1_000_000


def config_of(model: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((model / "config.json").read_text())
    return config


def weights_of(model: Path) -> dict[str, mx.array]:
    loaded = mx.load(str(model / "model.safetensors"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("model", QUANTISED, ids=lambda path: path.name)
def test_a_quantised_model_is_the_full_one_rounded(model: Path) -> None:
    """Rounding to a step moves a weight by half of it, at the ends of a group by a little more."""
    full, rounded, settings = weights_of(FULL), weights_of(model), config_of(model)["quantization"]
    assert f"-{settings['bits']}bit" in model.name
    for name, weight in full.items():
        if weight.ndim == 1:
            assert mx.array_equal(rounded[name], weight)
            continue
        base = name.removesuffix(".weight")
        scales, biases = rounded[f"{base}.scales"], rounded[f"{base}.biases"]
        value = mx.dequantize(rounded[name], scales, biases, settings["group_size"], settings["bits"])
        step = mx.repeat(mx.abs(scales), settings["group_size"], axis=-1)
        assert float(mx.max(mx.abs(value - weight) / step)) <= 1.0, name


@pytest.mark.parametrize("model", QUANTISED, ids=lambda path: path.name)
def test_a_quantised_model_differs_in_nothing_else(model: Path) -> None:
    for name in SAME:
        assert (model / name).read_bytes() == (FULL / name).read_bytes()
    extra = {"quantization", "quantization_config"}
    assert {key: value for key, value in config_of(model).items() if key not in extra} == config_of(FULL)


def test_all_bundled_models_together_are_small() -> None:
    files = [file for name in BUNDLED for file in (MODELS / name).iterdir()]
    assert sum(file.stat().st_size for file in files) < 40 * MEGABYTE
    assert sum(weight.size for weight in weights_of(FULL).values()) <= 8_000_000
