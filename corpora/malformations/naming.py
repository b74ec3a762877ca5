"""Wrong names of tools."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from corpora.malformations.specimen import (
    ARGUMENTS,
    JSON_FORMATS,
    Label,
    Malformation,
    Specimen,
    Stage,
    skeleton,
)
from repair.types import ToolDefinition


def _renamed(specimen: Specimen, rng: Random, name: str, call: int) -> Specimen | None:
    if specimen.format == ARGUMENTS or name == specimen.written[call].name:
        return None
    return specimen.rewritten(call, replace(specimen.written[call], name=name))


def _any_call(specimen: Specimen, rng: Random) -> tuple[int, str]:
    call = rng.randrange(len(specimen.written))
    return call, specimen.written[call].name


def name_case(specimen: Specimen, rng: Random) -> Specimen | None:
    call, name = _any_call(specimen, rng)
    return _renamed(specimen, rng, rng.choice((str.upper, str.title, str.swapcase, str.lower))(name), call)


def name_case_of_two(specimen: Specimen, rng: Random) -> Specimen | None:
    """Two declared names that differ by case alone, and a third spelling."""
    call, name = _any_call(specimen, rng)
    twin, written = name.upper(), name.title()
    if len({name, twin, written}) < 3:
        return None
    tools = (*specimen.tools, ToolDefinition(twin, "", specimen.tool(call).parameters))
    damaged = _renamed(replace(specimen, tools=tools), rng, written, call)
    return damaged.labelled(Label.destroying) if damaged else None


def name_prefix(specimen: Specimen, rng: Random) -> Specimen | None:
    call, name = _any_call(specimen, rng)
    return _renamed(specimen, rng, f"functions.{name}", call)


def name_suffix(specimen: Specimen, rng: Random) -> Specimen | None:
    """A marker or an index glued to the name, where the format lets them stand in one."""
    call, name = _any_call(specimen, rng)
    if (
        specimen.format not in JSON_FORMATS - {ARGUMENTS}
        or f'"{name}"' not in skeleton(specimen.format, (name,))[0]
    ):
        return None
    return _renamed(specimen, rng, name + rng.choice(("<|channel|>commentary", ":0", ":12", "<|sep|>")), call)


def name_typo(specimen: Specimen, rng: Random) -> Specimen | None:
    """Close to a declared name, and to be refused all the same."""
    call, name = _any_call(specimen, rng)
    at = rng.randrange(1, len(name) - 1)
    typo = rng.choice((name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:], name + "s", name[1:]))
    return _undeclared(specimen, rng, typo, call)


def name_unknown(specimen: Specimen, rng: Random) -> Specimen | None:
    call, _ = _any_call(specimen, rng)
    return _undeclared(specimen, rng, rng.choice(("search_web", "python", "execute", "final_answer")), call)


def _undeclared(specimen: Specimen, rng: Random, name: str, call: int) -> Specimen | None:
    if any(tool.name.casefold() == name.casefold() for tool in specimen.tools) or not name[0].isalpha():
        return None
    damaged = _renamed(specimen, rng, name, call)
    return damaged.labelled(Label.destroying) if damaged else None


_TABLE = {
    "name in another case": name_case,
    "name between two by case": name_case_of_two,
    "name with functions.": name_prefix,
    "name with a trailing marker": name_suffix,
    "name with a typo": name_typo,
    "undeclared tool": name_unknown,
}
NAMING = tuple(Malformation(name, Stage.value, one) for name, one in _TABLE.items())
