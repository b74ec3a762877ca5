"""The words that lessons are made of; an examination has a vocabulary of its own, without any of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from corpora import lexicon


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words for tools, requests and system texts.

    fields: names of values by their kind, as in `corpora.lexicon`.
    groups: names of objects that hold several values; of lists of such objects in the plural.
    options: members of enums.
    """

    verbs: tuple[str, ...]
    nouns: tuple[str, ...]
    fields: Mapping[str, tuple[str, ...]]
    groups: tuple[tuple[str, str], ...]
    options: tuple[str, ...]

    def words(self) -> Iterator[str]:
        """Every word in it, in small letters; names of several words come apart."""
        names = (*self.verbs, *self.nouns, *self.options)
        names += tuple(name for kind in self.fields.values() for name in kind)
        names += tuple(name for pair in self.groups for name in pair)
        for name in names:
            yield from name.lower().split("_")


LESSONS = Vocabulary(
    verbs=tuple(lexicon.VERBS),
    nouns=tuple(lexicon.NOUNS),
    fields=lexicon.PARAMETERS,
    groups=(
        ("address", "addresses"), ("item", "items"), ("guest", "guests"), ("filter", "filters"),
        ("option", "options"), ("range", "ranges"), ("contact", "contacts"), ("step", "steps"),
        ("rule", "rules"), ("column", "columns"), ("payment", "payments"), ("schedule", "schedules"),
        ("attachment", "attachments"), ("passenger", "passengers"), ("change", "changes"),
        ("question", "questions"), ("delivery", "deliveries"), ("owner", "owners"), ("task", "tasks"),
        ("parameter", "parameters"), ("label", "labels"), ("location", "locations"), ("entry", "entries"),
        ("member", "members"), ("setting", "settings"), ("todo", "todos"), ("edit", "edits"),
    ),
    options=tuple(lexicon.ENUM_WORDS),
)  # fmt: skip
