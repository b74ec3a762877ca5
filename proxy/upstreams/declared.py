"""Wire formats that the settings declare, as [[format]] tables in fortieth.toml."""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from repair.derived import find_flaw, reads_back
from repair.formats import AUTO, FORMATS, Wire
from repair.formats.derive import Probe, WrittenTurn
from repair.formats.row import Row
from repair.formats.shapes import RowFormat
from repair.types import ToolCall

_MOST = 400
_Literal = Annotated[str, Field(max_length=_MOST)]


class DeclaredFormat(BaseModel):
    """The literals of one format, as `fortieth doctor --format` prints them. See repair.formats.row.Row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
    shape: Literal["objects", "named", "tags", "pairs", "python"]
    section: _Literal = ""
    section_end: _Literal = ""
    call: _Literal = ""
    call_end: _Literal = ""
    joint: _Literal = ""
    listed: bool = False
    name_key: Annotated[str, Field(max_length=80)] = "name"
    arguments_key: Annotated[str, Field(max_length=80)] = "arguments"
    parameter: _Literal = ""
    parameter_end: _Literal = ""
    reasoning: Annotated[tuple[tuple[_Literal, _Literal], ...], Field(max_length=16)] = ()
    dropped: Annotated[tuple[_Literal, ...], Field(max_length=16)] = ()
    start: _Literal = ""
    also: Annotated[tuple[_Literal, ...], Field(max_length=16)] = ()

    @model_validator(mode="after")
    def _reads_itself_back(self) -> Self:
        if self.name in FORMATS or self.name in (AUTO, "derived"):
            raise ValueError(f"{self.name!r} is the name of a known format: take another name")
        row = self.row()
        if flaw := find_flaw(row):
            raise ValueError(f"{flaw}: see docs/repair.md")
        if not reads_back(Wire.of(row), lambda probes, text: WrittenTurn(text + _written(row, probes))):
            raise ValueError("a call that is written in this format is not read back: see docs/repair.md")
        return self

    def row(self) -> Row:
        return Row(**self.model_dump())

    def wire(self) -> Wire:
        return Wire.of(self.row())


def _written(row: Row, probes: tuple[Probe, ...]) -> str:
    calls = tuple(ToolCall(one.name, json.dumps(one.arguments, ensure_ascii=False)) for one in probes)
    return RowFormat(row).render(calls)
