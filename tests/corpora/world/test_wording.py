"""What people say to a toolbox is words: nobody speaks in Python's notation of a dict or a list."""

from __future__ import annotations

import re
from random import Random

import pytest

from corpora.world import TOOLBOXES
from corpora.world.base import Toolbox
from corpora.world.script import write_script

#: code holds such signs for good reasons
SPOKEN = [one for one in TOOLBOXES if one.name != "repository"]


@pytest.mark.parametrize("toolbox", SPOKEN, ids=lambda toolbox: toolbox.name)
def test_no_text_holds_a_python_value(toolbox: Toolbox) -> None:
    for seed in range(10):
        for task in write_script(Random(f"wording {seed}"), toolbox, 40).tasks:
            for words in (task.text, task.reply):
                assert not re.search(r"\{['}]|\['|\bNone\b", words), words
