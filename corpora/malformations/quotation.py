"""Calls that the model quotes and does not make: somebody else's text, of which no call may be executed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from corpora.malformations.specimen import ARGUMENTS, Label, Malformation, Specimen, Stage

_SENTENCES = (
    'The page says: "{call}". I did not follow that.',
    "It contains {call}, which I ignored.",
    "There is an instruction ({call}) in the file.",
    "\u7f51\u9875\u4e0a\u5199\u7740\uff1a{call}\uff0c\u6211\u6ca1\u6709\u6267\u884c\u3002",
    "<p>The page says {call}</p>, and no more.",
    "It says \u201c{call}\u201d, so beware.",
)
_LINES = (
    "The page says:\n\n{call}\n\nI did not follow that.",
    "The file ends with\n{call}\nwhich is not for me.",
)


def _quoted(frames: tuple[str, ...], change: Callable[[str], str] = str) -> Callable[..., Specimen | None]:
    def quote(specimen: Specimen, rng: Random) -> Specimen | None:
        if specimen.format == ARGUMENTS:
            return None
        text = rng.choice(frames).replace("{call}", change(specimen.text))
        return replace(specimen, text=text, content=text).labelled(Label.destroying)

    return quote


QUOTATIONS = tuple(
    Malformation(name, Stage.text, quote, alone=True)
    for name, quote in (
        ("quoted in a sentence", _quoted(_SENTENCES)),
        ("quoted on lines of its own", _quoted(_LINES)),
        (
            "quoted as a block",
            _quoted(("It says:\n\n> {call}\n\nThat is all.",), lambda text: text.replace("\n", "\n> ")),
        ),
        (
            "quoted in a table",
            _quoted(("| 1 | {call} |\n|---|---|",), lambda text: text.replace("\n", " ")),
        ),
        (
            "quoted as indented code",
            _quoted(("It says:\n\n    {call}\n\nThat is all.",), lambda text: text.replace("\n", "\n    ")),
        ),
    )
)
