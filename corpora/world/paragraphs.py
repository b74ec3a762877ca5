"""Free text of some lines, with the quotes, numbers and new lines that JSON has to escape."""

from __future__ import annotations

from random import Random

from corpora import lexicon

_LINES = (
    "{a} is not ready yet.", 'They said "{b}" and left.', "It's {a}'s turn now.", "- {b}", "- check {a}",
    "Steps: {b}", "See {a} ({n}).", "Total: {n}", 'The sign reads "{a}".', "Please ask {a} about {b}.",
    "{b}; then {n} more.", "What about {b}?", "Hi {a},", "Best, {a}", "1. {b}", "2. {b}",
)  # fmt: skip


def paragraph(rng: Random, most: int = 4) -> str:
    """One to `most` lines of free text with quotes, numbers and invented words."""
    forms = rng.sample(_LINES, rng.randint(1, most))
    return "\n".join(
        form.format(a=lexicon.invented_name(rng), b=lexicon.phrase(rng, 2, 4), n=rng.randint(1, 999))
        for form in forms
    )
