"""Messages that no tool serves, and short answers to them, from templates with open slots."""

from __future__ import annotations

from random import Random

from corpora import lexicon
from corpora.wording import SMALL_TALK

_GREETINGS = ("Hello", "Hi", "Hey", "Good morning", "Good evening", "Welcome back", "Hi again")
_THANKS = ("Thanks", "Thank you", "Great, thanks", "Perfect", "Nice", "Well done", "Good work", "That helps")
_TOPICS = (
    "What do you think about {noun}s?", "Do you like {noun}s?", "I had a {adjective} day at the {noun}.",
    "My {noun} is called {name}.", "I once lost a {noun} in {name}.", "Is a {noun} better than a {other}?",
    "Tell me something about {name}.", "Why do people like {noun}s so much?", "I am tired of the {noun}.",
    "{name} told me about the {noun} yesterday.", "Sing a song about a {noun}.",
    "I dreamt of a {adjective} {noun}.", "Who wrote the story of {name}?", "How do you spell {word}?",
    "What does {word} mean?", "I think {name} was right about the {noun}.", "My friend {name} says hello.",
    "What a {adjective} {noun}!",
)  # fmt: skip
SHRUGS = (
    "I can only help with my tools.", "I have no tool for that.", "I know nothing about that, sorry.",
    "That is beyond my tools.",
)  # fmt: skip
_HOLDS = (
    "Wait a moment, {name} is calling.", "Do not do anything yet.",
    "Hold on, I have to find the {noun} first.", "Let me think about the {noun}.", "One second please.",
    "Do nothing until I say so.", "I will be back after the {noun}.",
    "Stop for now, {name} wants to look at it first.", "No more for the moment.",
)  # fmt: skip
_WAITING = ("All right, I will wait.", "I will wait.", "Take your time.")
_ADJECTIVES = ("long", "strange", "quiet", "cold", "good", "sunny", "new", "small", "wooden", "silver")


def draw_talk(rng: Random) -> tuple[str, str]:
    """A message and its answer."""
    roll = rng.random()
    if roll < 0.25:
        return rng.choice(SMALL_TALK)
    if roll < 0.35:
        return f"{rng.choice(_GREETINGS)}{_addressee(rng)}{rng.choice('.!')}", "Hello! How can I help you?"
    if roll < 0.5:
        return f"{rng.choice(_THANKS)}{_addressee(rng)}{rng.choice('.!')}", "You are welcome."
    if roll < 0.68:
        return _filled(rng, rng.choice(_HOLDS)), rng.choice(_WAITING)
    return _filled(rng, rng.choice(_TOPICS)), rng.choice(SHRUGS)


def _addressee(rng: Random) -> str:
    roll = rng.random()
    if roll < 0.5:
        return ""
    return (
        f", {lexicon.invented_name(rng)}"
        if roll < 0.7
        else rng.choice((", assistant", " so much", " again", ", you"))
    )


def _filled(rng: Random, template: str) -> str:
    noun, other = rng.sample(lexicon.NOUNS, 2)
    return template.format(
        noun=noun,
        other=other,
        name=lexicon.invented_name(rng),
        word=lexicon.invented_word(rng),
        adjective=rng.choice(_ADJECTIVES),
    )
