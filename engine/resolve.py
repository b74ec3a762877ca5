"""From what the user asked for to a model directory."""

from __future__ import annotations

import os
import re
from pathlib import Path

from engine.errors import ModelNotFound

BUNDLED = Path(__file__).parent / "models" / "fortieth-tiny"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
FILES = ("*.json", "*.jinja", "*.safetensors", "*.model", "*.tiktoken", "*.txt")


def resolve_model(model: str | None) -> Path:
    """A local directory, or a hub id (downloaded, or from the hub's cache); None is the bundled model.

    Raises ModelNotFound, whose message says what was tried.
    """
    if model is None:
        if not (BUNDLED / "config.json").is_file():
            raise ModelNotFound(f"the bundled model is missing: {BUNDLED} has no config.json")
        return BUNDLED
    path = Path(model).expanduser()
    if model and path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelNotFound(f"{path} is not a model directory: it has no config.json")
        return path.resolve()
    looks_local = model.startswith((".", "/", "~")) or model.count("/") > 1 or os.sep + os.sep in model
    if looks_local or path.exists() or not HUB_ID.fullmatch(model):
        raise ModelNotFound(f"{path} is not a directory, and {model!r} is not a hub id (owner/name)")
    return download(model)


def download(hub_id: str) -> Path:
    """The snapshot of a hub model; without a network, the one in the hub's cache. Raises ModelNotFound."""
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    tried = f"there is no directory {hub_id!r}, and"
    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(FILES)))
    except RepositoryNotFoundError as error:
        raise ModelNotFound(f"{tried} no model {hub_id!r} on the hub (or it needs HF_TOKEN)") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise ModelNotFound(f"{tried} it cannot be fetched from the hub: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
