"""Every relative link of the documents leads somewhere, to the heading that it names."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from docs_site.hooks import slug

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
_FENCED = re.compile(r"^(```+).*?^\1`*\s*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def links(text: str) -> list[str]:
    """The targets of a page's relative links. Code is no link."""
    prose = _CODE.sub("", _FENCED.sub("", text))
    return [one for one in _LINK.findall(prose) if not re.match(r"[a-z]+:", one)]


def anchors(text: str) -> set[str]:
    """What GitHub calls a page's headings in links: lower case, words joined by `-`, repeats numbered."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(_FENCED.sub("", text)):
        bare = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = slug(bare)
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def dead(page: Path, target: str) -> str:
    """What is wrong with a link; "" where nothing is."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists():
        return f"{target}: no such file"
    if not file.is_relative_to(ROOT):
        return f"{target}: outside of the repository"
    if anchor and anchor not in anchors(file.read_text("utf-8")):
        return f"{target}: no such heading"
    return ""


def test_pages_and_links_are_found() -> None:
    assert len(PAGES) > 30
    assert sum(len(links(page.read_text("utf-8"))) for page in PAGES) > 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    found = [dead(page, target) for target in links(page.read_text("utf-8"))]
    assert [one for one in found if one] == []


def test_every_benchmark_page_is_in_the_overview() -> None:
    overview = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    for page in (ROOT / "docs" / "benchmarks").glob("*.md"):
        assert f"(benchmarks/{page.name}" in overview


def test_a_dead_link_is_found() -> None:
    page = ROOT / "README.md"
    assert dead(page, "docs/nothing.md") == "docs/nothing.md: no such file"
    assert dead(page, "docs/guard.md#nothing") == "docs/guard.md#nothing: no such heading"
    assert dead(page, "docs/guard.md#giving-up") == ""
    assert links("[a](b.md) `[c](d.md)`\n```\n[e](f.md)\n```\n[g](https://h)") == ["b.md"]
    assert anchors("# A `b` c\n## A `b` c\n") == {"a-b-c", "a-b-c-1"}
