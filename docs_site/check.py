"""`python -m docs_site.check FOLDER`: what the built site would load from other hosts.

The exit code is 1 if there is any, or no site.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

_LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
_NOT_LOADED = {
    "canonical",
    "next",
    "prev",
    "license",
    "alternate",
    "edit",
}  # what `rel` says of a link to read
_OF_STYLES = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)")


class _Loaded(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        address = named.get(_LOADED.get(tag, "")) or ""
        if re.match(r"(?:https?:)?//", address) and named.get("rel") not in _NOT_LOADED:
            self.found.append(f"<{tag}> {address}")


def loaded_from_elsewhere(text: str) -> list[str]:
    """The addresses of other hosts that a page or a style sheet has the browser load."""
    parser = _Loaded()
    parser.feed(text)
    return [*parser.found, *_OF_STYLES.findall(text)]


def main(folder: Path) -> int:
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in {".html", ".css", ".svg"}]
    found = [(path, one) for path in files for one in loaded_from_elsewhere(path.read_text("utf-8"))]
    for path, address in found:
        print(f"{path.relative_to(folder)}: {address}")
    print(f"{len(files)} files looked at, {len(found)} addresses of other hosts are loaded by them")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
