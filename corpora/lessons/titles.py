"""A title for a conversation: programs ask for it beside the conversation itself, and give no tools."""

from __future__ import annotations

from random import Random

from corpora.conversations import Conversation, Message
from corpora.lessons.chatter import draw_chatter
from corpora.lessons.errands import errand_kind, prefaced
from corpora.lessons.handbook import system_text
from corpora.lessons.vocabulary import LESSONS

_LONGEST = 6  # words of a title
_PURPOSES = (
    "You give conversations their titles. Write the title alone.", "You name a conversation in a few words.",
    "Write nothing but a title of at most six words.", "Say in a few words what the user wants.",
    "You are asked for titles. A title is short and holds what matters: names, files, commands.",
)  # fmt: skip
_ASKED = (
    "Write a title for this conversation:", "What is the title of this conversation?", "Title, please:",
    "Give this conversation a name.", "Name what follows in a few words:", "The conversation to be named:",
)  # fmt: skip


def titled(rng: Random, longest: int) -> Conversation:
    """What a user said, and the beginning of it as a title."""
    said = errand_kind(rng).draw(rng).said if rng.random() < 0.8 else draw_chatter(rng)[0]
    text = rng.choice(_PURPOSES)
    if (characters := int(rng.uniform(0, min(6000, longest)))) > 200:
        parts = system_text(rng, LESSONS, characters, code=True).split("\n\n")
        parts.insert(rng.choice((0, len(parts))), text)
        text = "\n\n".join(parts)
    messages: list[Message] = [{"role": "system", "content": text}]
    asked, shown = rng.choice(_ASKED), prefaced(rng, said)
    if rng.random() < 0.3:
        shown = f'"{shown}"'
    if rng.random() < 0.5:
        messages += [{"role": "user", "content": asked}, {"role": "user", "content": shown}]
    else:
        messages.append({"role": "user", "content": f"{asked}\n\n{shown}"})
    return Conversation((), (*messages, {"role": "assistant", "content": title(said)}))


def title(said: str) -> str:
    """The first words of what was said, without marks where anything is left without."""
    words = " ".join(said.replace("`", "").replace('"', "").split()[:_LONGEST])
    return words.rstrip(".,;:?!") or words
