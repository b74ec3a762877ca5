"""Every variant has a sheet and a name of its own; one that is stretched is the same model that says more."""

from __future__ import annotations

import json
from pathlib import Path

from corpora.world.variants import Variant, stretched

VARIANTS = {
    Variant(None, 0.0): ("full-0.json", "full precision"),
    Variant(4, 0.7): ("4-0.7.json", "4 bits, T=0.7"),
    Variant(4, 1.5, "full"): ("4-1.5-full.json", "4 bits, T=1.5, guard full"),
    Variant(None, 0.0, "off", 20480): ("full-0-20480.json", "full precision, up to 20480 tokens"),
}


def test_each_variant_is_told_from_the_others() -> None:
    assert {one: (one.file, one.label) for one in VARIANTS} == VARIANTS


def test_a_stretched_model_differs_in_what_it_says_it_can_do(tmp_path: Path) -> None:
    model = tmp_path / "tiny"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"max_position_embeddings": 8192, "vocab_size": 9}))
    (model / "model.safetensors").write_bytes(b"weights")
    assert stretched(model, None, tmp_path / "out") is model
    for _ in range(2):  # again over what is there
        copied = stretched(model, 20480, tmp_path / "out")
    assert (copied / "model.safetensors").read_bytes() == b"weights"
    assert json.loads((copied / "config.json").read_text()) == {
        "max_position_embeddings": 20480,
        "vocab_size": 9,
    }
    assert json.loads((model / "config.json").read_text())["max_position_embeddings"] == 8192
