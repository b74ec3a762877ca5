"""Writes arguments as the untyped text of the XML-like formats."""

from __future__ import annotations

import json
from collections.abc import Iterator


def plain_parameters(arguments: str) -> Iterator[tuple[str, str]]:
    """Each key with its text: strings as they are, other values as JSON."""
    for key, value in json.loads(arguments).items():
        yield key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
