"""Messages that no tool serves, for the examination; none of them is a template of the lessons."""

from __future__ import annotations

from random import Random

from corpora import lexicon
from corpora.lessons.examined import EXAMINED

_MESSAGES = (
    "Hello from {name}!", "hi", "Good evening, how do you do?", "Thanks, that will be all.", "ok",
    "What is the capital of {name}?", "Why does a {noun} float?", "Write me a poem about the {noun}.",
    "Which is older, the {noun} or the {other}?", "My name is {name}. Do you remember it?",
    "Explain the {noun} to a child.", "I feel sad because of my {noun}.", "Is {word} a real word?",
    "Say something in the language of {name}.", "How many {noun}s fit into a {other}?", "Are you a person?",
    "Let us speak about the {noun} instead.", "You were wrong about the {noun}.", "Never mind the {noun}.",
    "Good night, {name} is waiting for me.", "What would {name} do with a {noun}?", "lol", "{word}?",
    "I am just looking around, nothing to do.", "Could you wait until {name} is back?",
)  # fmt: skip


def draw_message(rng: Random) -> str:
    """Something to which the answer is words."""
    noun, other = rng.sample(EXAMINED.nouns, 2)
    return rng.choice(_MESSAGES).format(
        noun=noun, other=other, name=lexicon.invented_name(rng), word=lexicon.invented_word(rng)
    )
