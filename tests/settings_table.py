"""`python -m tests.settings_table`: the table of settings in docs/settings.md, from where each is told."""

from __future__ import annotations

import inspect
from pathlib import Path

from proxy.cli.main import serve
from proxy.http.read_settings import ENV_PREFIX
from proxy.http.settings import Settings
from proxy.http.told import default_of, told

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
HEAD = "| setting | flag of `serve` | default | |\n|---|---|---|---|\n"


def table() -> str:
    """One row a setting, in the order of the fields."""
    flags = inspect.signature(serve).parameters
    rows = [HEAD]
    for name, field in Settings.model_fields.items():
        one = told(field)
        flag = "`MODEL`" if name == "model" else f"`--{name.replace('_', '-')}`" if name in flags else ""
        path, _, heading = one.page.partition("#")
        more = f" ([{heading.replace('-', ' ') or path.removesuffix('.md')}]({one.page}))" if one.page else ""
        shown = f": `{one.example}`" if one.example else ""
        rows.append(f"| `{name}` | {flag} | {default_of(field)} | {one.help}{shown}{more} |\n")
    return "".join(rows)


def written() -> str:
    """The table as the page has it."""
    text = PAGE.read_text("utf-8")
    return HEAD + text.split(HEAD, 1)[1].split("\n\n", 1)[0] + "\n"


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text("utf-8").replace(written(), table()), "utf-8")
    print(
        f"{PAGE.name}: {len(Settings.model_fields)} settings, each also {ENV_PREFIX} and its name in capitals"
    )
