"""Servers that tests start as a user would keep nothing in the user's cache folder."""

from __future__ import annotations

import os

os.environ.setdefault("FORTIETH_CACHE_DIR", "off")
