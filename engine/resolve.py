"""Finds the model directory for what a user asked for: a directory, a bundled name, or a hub id."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatch
from pathlib import Path

from engine.errors import ModelNotFound

MODELS = Path(__file__).parent / "models"
BUNDLED = ("fortieth-tiny", "fortieth-tiny-8bit", "fortieth-tiny-4bit")  # the first is the default
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
NAMES = ", ".join(BUNDLED)
FILES = ("*.json", "*.jinja", "*.safetensors", "*.model", "*.tiktoken", "*.txt")

_THEIRS = re.compile(r"^Got: |\[Errno -?\d+\] ")


def resolve_model(model: str | None) -> Path:
    """A local directory, the name of a bundled model, or a hub id (downloaded, or from the hub's cache).

    None is the first bundled model. Raises ModelNotFound, whose message says what was tried.
    """
    if model is None:
        return bundled(BUNDLED[0])
    path = in_full(model)
    try:
        is_folder = bool(model) and path.is_dir()
        if is_folder:
            check_readable(path)
            return path.resolve()
        exists = path.exists()
    except OSError as error:
        raise ModelNotFound(f"{model[:200]} cannot be read: {error.strerror or error}") from error
    if model in BUNDLED:
        return bundled(model)
    looks_local = model.startswith((".", "/", "~")) or model.count("/") > 1 or os.sep + os.sep in model
    if looks_local or exists or not HUB_ID.fullmatch(model):
        raise ModelNotFound(
            f"{path} is not a directory, and {model!r} is neither a hub id (owner/name) nor bundled ({NAMES})"
        )
    return download(model)


def in_full(model: str) -> Path:
    """The name as a path, with `~` expanded as a shell does. Raises ModelNotFound where that user has no home
    folder.
    """
    try:
        return Path(model).expanduser()
    except RuntimeError as error:
        raise ModelNotFound(f"{model}: there is no home folder of that user") from error


def check_readable(path: Path) -> None:
    """Checks that a model directory can be read. Raises OSError, and ModelNotFound where it is not a model
    directory.
    """
    names = sorted(os.listdir(path))
    if "config.json" not in names:
        adapter = "adapter_config.json" in names
        hint = "; an adapter lies in the folder of the model that it was made for" if adapter else ""
        raise ModelNotFound(f"{path} is not a model directory: it has no config.json{hint}")
    for name in names:
        if any(fnmatch(name, pattern) for pattern in FILES) and not os.access(path / name, os.R_OK):
            raise ModelNotFound(f"{path / name} cannot be read by this user")


def bundled(name: str) -> Path:
    """The directory of a bundled model. Raises ModelNotFound."""
    path = MODELS / name
    if not (path / "config.json").is_file():
        raise ModelNotFound(f"the bundled model {name} is missing: {path} has no config.json")
    return path


def download(hub_id: str) -> Path:
    """The snapshot of a hub model; without a network, the one in the hub's cache. Raises ModelNotFound."""
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    tried = f"there is no directory and no bundled model ({NAMES}) {hub_id!r}, and"
    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(FILES)))
    except RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"{tried} the hub has no model {hub_id!r}, or gives it only to a user with HF_TOKEN"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise ModelNotFound(f"{tried} it cannot be fetched from the hub: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """The first line of the error's message, without what only the authors of its library know."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return _THEIRS.sub("", line)
