"""The words that lessons are made of; an examination has a vocabulary of its own, without any of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

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

KNOWN_SHARE = 0.25  # of the lessons use the words above
_KNOWN = tuple(sorted({word for word in LESSONS.words() if len(word) > 4}))
_SOUNDS = (
    tuple(
        """
b c d f g h j k l m n p q r s t v w x z bl br ch ck cl dr ff gh gr kn ll nd ng pl ph rr sh ss st th tt wh wr
""".split()
    ),
    tuple("a e i o u a e i o u a e i o y ai ea ee ie oo ou".split()),
)
#: what a request would say in another sense
_TAKEN = frozenset(
    "the and with without has yes not none null true false now please first second third".split()
)


def draw_words(rng: Random) -> Vocabulary:
    """The words of one lesson: the known ones now and then, else new ones.

    A network that meets the same few hundred names in all lessons learns them, and not to copy the names that
    a schema has.
    """
    if rng.random() < KNOWN_SHARE:
        return LESSONS
    groups = tuple(_word(rng) for _ in range(6))
    return Vocabulary(
        verbs=_words(rng, 8),
        nouns=_words(rng, 10),
        fields={kind: tuple(_name(rng) for _ in range(5)) for kind in LESSONS.fields},
        groups=tuple((one, f"{one}s") for one in groups),
        options=_words(rng, 12),
    )


def _words(rng: Random, count: int) -> tuple[str, ...]:
    return tuple(_word(rng) for _ in range(count))


def _name(rng: Random) -> str:
    return f"{_word(rng)}_{_word(rng)}" if rng.random() < 0.2 else _word(rng)


def _word(rng: Random) -> str:
    """A word that looks like one: two halves of known words, any sounds in a row, or syllables."""
    while True:
        roll = rng.random()
        if roll < 0.4:
            one, other = rng.choice(_KNOWN), rng.choice(_KNOWN)
            word = one[: rng.randint(2, len(one) - 1)] + other[rng.randint(1, len(other) - 2) :]
        elif roll < 0.8:
            start = rng.randrange(2)
            word = "".join(rng.choice(_SOUNDS[(start + at) % 2]) for at in range(rng.randint(3, 7)))
        else:
            word = lexicon.invented_word(rng)
        if 3 <= len(word) <= 14 and word not in _TAKEN:
            return word
