"""A served model, as the lists of models of all dialects describe it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model that the upstream serves.

    created: seconds since the epoch.
    context_length: in tokens.
    family: the architecture as the model's own config names it, "" where it is not known.
    thinks: whether it is known to think before it answers.
    format: the wire format of its calls, "" where it is not known.
    """

    id: str
    created: int
    context_length: int
    fingerprint: str
    family: str = ""
    thinks: bool = False
    format: str = ""
