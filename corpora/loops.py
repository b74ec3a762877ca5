"""The worlds that an agent loop can be played in, by name: the tool world, and the agent's workshop."""

from __future__ import annotations

from collections.abc import Mapping

from corpora.workshop import WORKSHOPS
from corpora.world import TOOLBOXES
from corpora.world.base import Toolbox

WORLDS: Mapping[str, tuple[Toolbox, ...]] = {"worlds": TOOLBOXES, "workshop": WORKSHOPS}
