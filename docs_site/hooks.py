"""MkDocs hooks: headings have GitHub's anchors, and links out of docs/ lead to the repository."""

from __future__ import annotations

import posixpath
import re
from typing import Any

REPOSITORY = "https://github.com/fortieth/fortieth/blob/main"
_LINK = re.compile(r"\]\((\.\./[^()\s]*)\)")


def slug(heading: str, separator: str = "-") -> str:
    """What GitHub calls a heading in links: lower case, without punctuation, words joined by `-`."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def outside(markdown: str, page: str) -> str:
    """The page's text with the links that leave docs/ as addresses in the repository.

    page: the page's path below docs/.
    """

    def moved(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link.group(1)))
        return link.group() if path.startswith("docs/") else f"]({REPOSITORY}/{path})"

    return _LINK.sub(moved, markdown)


def on_config(config: Any) -> Any:
    config["mdx_configs"].setdefault("toc", {})["slugify"] = slug
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    return outside(markdown, page.file.src_uri)
