"""The site of docs/: every page is in its navigation, and its links are those that GitHub has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from docs_site.check import loaded_from_elsewhere
from docs_site.hooks import REPOSITORY, outside, slug

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
CONTENTS = (DOCS / "README.md").read_text("utf-8")


def pages_in(nav: Any) -> Iterator[str]:
    for entry in nav:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from pages_in(value)


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(pages_in(CONFIG["nav"]))
    assert len(listed) == len(set(listed))
    assert set(listed) == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}


def test_the_contents_have_the_parts_and_pages_of_the_navigation() -> None:
    """Pages below another one (a decision, a benchmark) are listed by that one."""
    parts = {name: entries for one in CONFIG["nav"] for name, entries in one.items() if name != "Contents"}
    found = re.split(r"^## (.+)$", CONTENTS, flags=re.MULTILINE)
    tables = dict(zip(found[1::2], found[2::2], strict=True))
    assert list(tables)[1:] == list(parts)
    for part, entries in parts.items():
        first = [next(pages_in([one])) for one in entries]
        linked = re.findall(r"^\| \[[^\]]+\]\(([^)]+)\)", tables[part], re.MULTILINE)
        assert linked == first, part


def test_a_task_is_at_most_two_pages_from_the_contents() -> None:
    """The contents lead to the section itself, which has a block that a test runs or compares."""
    for anchor in (
        "what-happened.md#in-the-openai-sdk",
        "what-happened.md#why-a-turn-missed-the-cache",
        "what-happened.md#in-the-ledger",
        "what-happened.md#in-prometheus",
        "guides/other-servers.md",
    ):
        assert f"({anchor})" in CONTENTS
        path, _, heading = anchor.partition("#")
        text = (DOCS / path).read_text("utf-8")
        if heading:
            sections = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
            text = next(
                body
                for name, body in zip(sections[1::2], sections[2::2], strict=True)
                if slug(name) == heading
            )
        assert re.search(r"^```(python)?\n", text, re.MULTILINE), anchor


def test_every_decision_is_in_the_index_with_status_and_date() -> None:
    index = (DOCS / "decisions/README.md").read_text("utf-8")
    rows = re.findall(
        r"^\| \[(.+)\]\((\S+)\) \| (in force.*|replaced by .+) \| (20\d\d-\d\d-\d\d) \|$", index, re.MULTILINE
    )
    pages = sorted((DOCS / "decisions").glob("0*.md"))
    assert [(title, path) for title, path, _, _ in rows] == [
        (page.read_text("utf-8").splitlines()[0].removeprefix("# "), page.name) for page in pages
    ]
    dates = [date for *_, date in rows]
    assert dates == sorted(dates)


def test_nothing_of_the_site_is_loaded_from_elsewhere() -> None:
    assert CONFIG["theme"]["font"] is False
    assert "repo_url" not in CONFIG  # the theme asks GitHub how many stars the repository has
    assert not [page for page in DOCS.rglob("*.md") if "```mermaid" in page.read_text("utf-8")]  # its script
    assert loaded_from_elsewhere('<link href="https://f.test/a.css" rel="stylesheet">') == [
        "<link> https://f.test/a.css"
    ]
    assert loaded_from_elsewhere('<script src="//f.test/a.js"></script>') == ["<script> //f.test/a.js"]
    assert loaded_from_elsewhere("@import 'https://f.test/a.css'; a { background: url(//f.test/b) }") == [
        "https://f.test/a.css",
        "//f.test/b",
    ]
    assert loaded_from_elsewhere('<a href="https://f.test">a</a><img src="img/a.svg">') == []


def test_links_out_of_the_documents_lead_to_the_repository() -> None:
    assert outside("[a](../examples/a.py)", "quickstart.md") == f"[a]({REPOSITORY}/examples/a.py)"
    assert outside("[a](../../SECURITY.md#b)", "guides/security.md") == f"[a]({REPOSITORY}/SECURITY.md#b)"
    inside = "[a](../api.md) [b](https://h/../c)"
    assert outside(inside, "guides/security.md") == inside
    assert REPOSITORY.removesuffix("/blob/main") in (ROOT / "pyproject.toml").read_text("utf-8")
