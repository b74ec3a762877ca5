"""Has fewer experts compute each token of a mixture-of-experts model, by other settings as it loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import EngineFailed

# how the config.json of models names the number of experts that compute each token
KEYS = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts")


def fewer_experts(model: Path, top_k: int | None) -> dict[str, Any]:
    """The settings of a model directory that differ where `top_k` experts compute each token; none for None.

    Raises EngineFailed where the model has no experts, or uses fewer.
    """
    if top_k is None:
        return {}
    settings: dict[str, Any] = json.loads((model / "config.json").read_text("utf-8"))
    changed = with_top_k(settings, top_k)
    inner = settings.get("text_config")
    if isinstance(inner, dict) and (changed_inner := with_top_k(inner, top_k)):
        changed["text_config"] = {**inner, **changed_inner}
    if not changed:
        raise EngineFailed(f"moe_top_k is {top_k}, but the model has no experts to choose from")
    return changed


def with_top_k(settings: Mapping[str, Any], top_k: int) -> dict[str, Any]:
    """Those of the settings that tell the number of experts for each token, with the new number."""
    found = {key: settings[key] for key in KEYS if isinstance(settings.get(key), int)}
    for used in found.values():
        if top_k > used:
            raise EngineFailed(f"moe_top_k is {top_k}, but the model uses {used} experts for each token")
    return dict.fromkeys(found, top_k)
