"""All malformations, and the drawing of damaged specimens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from corpora.malformations.envelope import ENVELOPE
from corpora.malformations.naming import NAMING
from corpora.malformations.specimen import ALL_FORMATS, Label, Malformation, Specimen, inject
from corpora.malformations.syntax import SYNTAX
from corpora.malformations.tools import draw_specimen, draw_tools
from corpora.malformations.values import VALUES
from repair.types import ToolDefinition

MALFORMATIONS: tuple[Malformation, ...] = (*SYNTAX, *ENVELOPE, *NAMING, *VALUES)
_TOOL_SETS = 200
_TRIES = 60


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
    if first.stage is second.stage or _interact(first.name, second.name):
        return None
    both = inject(specimen, (first, second), rng)
    return None if both is None or both.label is Label.undecided else both


def _interact(*names: str) -> bool:
    """A cut that takes only a bracket too many away leaves a whole call."""
    return "extra closing bracket" in names and any(name.startswith("cut") for name in names)


def draw_damaged(
    seed: int, count: int, formats: Sequence[str] = ALL_FORMATS, doubles: float = 0.4
) -> Iterator[Specimen]:
    """`count` damaged specimens, the formats and malformations in turn, a share of them damaged twice."""
    sets = draw_tool_sets(seed)
    for index in range(count):
        rng = Random(f"{seed}:{index}")
        format = formats[index % len(formats)]
        twice = rng.random() < doubles
        wanted = MALFORMATIONS[(index // len(formats)) % len(MALFORMATIONS)]
        for _ in range(_TRIES):
            specimen = draw_specimen(rng, format, rng.choice(sets))
            found = damage_twice(specimen, rng) if twice else damage(specimen, wanted, rng)
            if found is not None:
                yield found
                break
            wanted = wanted if rng.random() < 0.9 else rng.choice(MALFORMATIONS)
