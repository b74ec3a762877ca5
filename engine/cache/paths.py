"""The default folder of the disk tier."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """A folder in the user's cache folder, as the platform has it."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fortieth" / "prefix"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fortieth" / "prefix"
