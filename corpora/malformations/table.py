"""All malformations, and the drawing of damaged specimens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

from corpora.malformations.ending import ENDINGS
from corpora.malformations.envelope import ENVELOPE
from corpora.malformations.naming import NAMING
from corpora.malformations.quotation import QUOTATIONS
from corpora.malformations.specimen import ALL_FORMATS, Label, Malformation, Specimen, inject
from corpora.malformations.syntax import SYNTAX
from corpora.malformations.tools import draw_specimen, draw_tools
from corpora.malformations.values import VALUES
from repair.types import ToolDefinition

MALFORMATIONS: tuple[Malformation, ...] = (
    *SYNTAX,
    *ENVELOPE,
    *ENDINGS,
    *QUOTATIONS,
    *NAMING,
    *VALUES,
)
_TOOL_SETS = 200
_TRIES = 60
#: of one stage, and yet apart from each other
_SIDE_BY_SIDE = {"trailing comma", "raw line break or tab", "Python literal", "unquoted key"}


def draw_tool_sets(seed: int, count: int = _TOOL_SETS) -> list[tuple[ToolDefinition, ...]]:
    """The tools that specimens are drawn over."""
    return [draw_tools(Random(f"{seed}:tools:{index}")) for index in range(count)]


def clean(specimen: Specimen, rng: Random) -> Specimen:
    """The specimen rendered, with nothing wrong."""
    done = inject(specimen, (), rng)
    assert done is not None
    return done


def damage(specimen: Specimen, one: Malformation, rng: Random) -> Specimen | None:
    """The specimen with one malformation."""
    return inject(specimen, (one,), rng)


def damage_twice(specimen: Specimen, rng: Random) -> Specimen | None:
    """Two malformations that do not interact: both recoverable, or one of them destroying."""
    first, second = rng.sample([one for one in MALFORMATIONS if not one.alone], 2)
    if not {first.name, second.name} <= _SIDE_BY_SIDE and (
        first.stage is second.stage or _interact(first.name, second.name)
    ):
        return None
    both = inject(specimen, (first, second), rng)
    return None if both is None or both.label is Label.undecided else both


def _interact(*names: str) -> bool:
    """Whether both kinds of damage interact: a cut that only takes a surplus bracket leaves a whole call."""
    return "extra closing bracket" in names and any(name.startswith("cut") for name in names)


Source = Callable[[Random, str], Specimen]


def invented(seed: int) -> Source:
    """True calls of invented tools."""
    sets = draw_tool_sets(seed)
    return lambda rng, format: draw_specimen(rng, format, rng.choice(sets))


def draw_damaged(
    seed: int,
    count: int,
    source: Source | None = None,
    formats: Sequence[str] = ALL_FORMATS,
    doubles: float = 0.4,
) -> Iterator[Specimen]:
    """`count` damaged specimens, the formats and malformations in turn, a share of them damaged twice."""
    source = source or invented(seed)
    drawn = 0
    index = 0
    while drawn < count:
        rng = Random(f"{seed}:{index}")
        format = formats[index % len(formats)]
        wanted = MALFORMATIONS[(index // len(formats)) % len(MALFORMATIONS)]
        index += 1
        found = _draw_one(rng, format, wanted, source, twice=rng.random() < doubles)
        if found is not None:
            drawn += 1
            yield found


def _draw_one(rng: Random, format: str, wanted: Malformation, source: Source, twice: bool) -> Specimen | None:
    for _ in range(_TRIES):
        specimen = source(rng, format)
        found = damage_twice(specimen, rng) if twice else damage(specimen, wanted, rng)
        if found is not None:
            return found
        if rng.random() > 0.9:
            wanted = rng.choice(MALFORMATIONS)
    return None


def draw_clean(seed: int, count: int, source: Source | None = None) -> Iterator[Specimen]:
    """`count` specimens with nothing wrong."""
    source = source or invented(seed)
    for index in range(count):
        rng = Random(f"{seed}:clean:{index}")
        yield clean(source(rng, ALL_FORMATS[index % len(ALL_FORMATS)]), rng)
