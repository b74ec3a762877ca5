"""Messages that ask for no tool, put together from parts, so that their forms are as open as their words."""

from __future__ import annotations

from random import Random

from corpora import lexicon
from corpora.lessons.errands import errand_kind
from corpora.lessons.nested import draw_arguments, invent_tools, say_request
from corpora.lessons.results import draw_telling
from corpora.lessons.vocabulary import LESSONS
from corpora.talk import SHRUGS

_SUBJECTS = (
    "a {noun}", "the {noun}", "my {noun}", "{name}", "your {noun}", "the {adjective} {noun}", "this {noun}",
    "the {noun} of {name}", "the {noun} in the {other}", "every {noun}", "somebody like {name}",
)  # fmt: skip
_VERBS = (
    "sleep", "sing", "melt", "break", "grow", "fall", "travel", "laugh", "disappear", "end",
    "begin", "matter",
    "smell", "move", "rest", "look so {adjective}", "need a {other}", "come from {name}",
    "taste {adjective}",
)  # fmt: skip
_ADJECTIVES = (
    "long", "strange", "quiet", "cold", "good", "small", "heavy", "round", "old", "green", "dear", "rare",
    "true", "famous", "wet", "loud", "bright", "early", "dangerous", "funny",
)  # fmt: skip
_QUESTIONS = (
    "{why} does {subject} {verb}?", "{why} did {subject} {verb}?", "{why} will {subject} {verb}?",
    "{why} is {subject} {adjective}?", "{why} was {subject} so {adjective}?", "Does {subject} {verb}?",
    "Did {subject} ever {verb}?", "Is {subject} {adjective}?",
    "Is {subject} more {adjective} than {object}?",
    "Can {subject} {verb}?", "Who made {subject}?", "Whose is {subject}?", "Which {noun} is the best one?",
    "What happens when {subject} and {object} meet?",
    "What is the difference between {subject} and {object}?",
    "What colour is {subject}?", "What is {subject} made of?", "How old is {subject}?",
    "{subject} or {object}?",
    "Have you ever seen {subject}?", "Do you know {name}?", "Would you rather have {subject} or {object}?",
    "Where was {name} born?", "What comes after the {noun}?", "Should I {verb} today?",
    "Do I have to {verb}?",
)  # fmt: skip
_WHYS = ("Why", "When", "Where", "How", "How often", "Since when", "And why", "So why")
_WISHES = (
    "Describe {subject} in a few words.", "Compare {subject} with {object}.", "Imagine {subject}.",
    "Invent a name for {subject}.", "Find a rhyme for {word}.",
    "Tell a story in which {subject} meets {object}.",
    "Give me your opinion of {subject}.", "Teach me about {noun}s.", "Talk to me about {subject}.",
    "Summarise the history of {name}.", "Guess what I think of {subject}.",
    "Help me to understand {subject}.",
    "Translate {word} for me.", "Make me laugh.", "Cheer me up, {subject} is gone.",
    "Pretend to be {subject}.",
    "Please say something {adjective}.", "Continue: {subject} and {object} went", "Entertain me.",
)  # fmt: skip
_REMARKS = (
    "{subject} makes me {adjective}.", "Yesterday I saw {subject}.", "I like {noun}s.", "I miss {subject}.",
    "I do not understand {subject}.", "It is a {adjective} day.", "{subject} and {object} belong together.",
    "I was {adjective} when {name} left.", "{name} has {subject}.", "We talked about {subject} all day.",
    "I believe {subject} will {verb}.", "That is not what I meant with {subject}.", "You forgot {subject}.",
    "That was {adjective}.", "I am from {name}.", "My favourite word is {word}.",
    "{word} is a {adjective} word.",
    "I would not {verb} if I were {name}.", "There is {subject} on my desk.", "Nobody knows {name}.",
)  # fmt: skip
_SCRAPS = (
    "hm", "yes", "no", "why?", "really?", "aha", "sure", "fine", "oh", "?", "...", "test",
    "and now?", "wow",
    "{noun}", "{name}", "{name}!", "the {noun}", "{word} {word2}", "{n}",
    "ha", "heh", "hihi", "meh", "yay", "ugh", "nope", "yep", "huh", "brb", "omg", "idk", "xd", "rofl",
    "haha", "oops", "hmm, {noun}", "no idea", "so what", "{adjective}", "a {adjective} {noun}", "ping",
)  # fmt: skip
_PARTINGS = (
    "See you, {name}.", "I have to go now.", "Until tomorrow!", "Sleep well.", "bye",
    "That is it, {name} calls.",
    "I am leaving for {name}.", "Enough for now.", "We are done here.", "I am going to rest.",
)  # fmt: skip
_PAUSES = (
    "Please wait for {name}.", "Give me a minute.", "Not yet.", "I am still thinking about {subject}.",
    "Leave it as it is.", "Nothing more today.", "Stay where you are.",
    "Forget {subject}.", "Do not touch {subject}.",
)  # fmt: skip

_HELLOS = (
    "Hello, this is {name}.", "{name} says hello.", "Greetings to you and {name}!", "Hi there, {name} here.",
    "A good day to you from {other}.", "hello hello", "Hey you", "hello?", "Good day!", "Hi, {name} sent me.",
    "Hello again from the {noun}!", "greetings", "hey {name}", "Hello out there!", "Hi {name}, hello {word}!",
)  # fmt: skip
_NO_TOOL = "I have no tool for that."


def draw_chatter(rng: Random) -> tuple[str, str]:
    """A message and its answer."""
    templates, replies = rng.choices(
        (
            (_QUESTIONS, SHRUGS),
            (_WISHES, SHRUGS),
            (_REMARKS, SHRUGS),
            (_SCRAPS, ("How can I help you?", "What can I do for you?")),
            (_HELLOS, ("Hello! How can I help you?",)),
            (_PARTINGS, ("Goodbye!",)),
            (_PAUSES, ("All right, I will wait.", "All right.")),
        ),
        (38, 18, 18, 16, 7, 6, 7),
    )[0]
    text = _filled(rng, rng.choice(templates))
    roll = rng.random()
    if roll < 0.15:
        text = text.rstrip(".!") or text
    if roll > 0.8:
        text = text[0].lower() + text[1:]
    return text, rng.choice(replies)


def draw_unserved(rng: Random) -> tuple[str, str]:
    """What a tool could do that is not there, and the answer."""
    if rng.random() < 0.6:
        looked_up = errand_kind(rng, shells=0.2).draw(rng).said
        said = looked_up if rng.random() < 0.6 else draw_telling(rng, LESSONS).request
        return said, _NO_TOOL
    (tool,) = invent_tools(rng, LESSONS, 1)
    return say_request(rng, tool, draw_arguments(rng, tool.fields)), _NO_TOOL


def _filled(rng: Random, template: str) -> str:
    """All slots of a template, and those of what is put into them."""
    subject, thing = rng.sample(_SUBJECTS, 2)
    text = template.replace("{subject}", subject).replace("{object}", thing)
    text = text.replace("{verb}", rng.choice(_VERBS)).replace("{why}", rng.choice(_WHYS))
    noun, other = rng.sample(LESSONS.nouns, 2)
    text = text.format(
        noun=noun,
        other=other,
        name=lexicon.invented_name(rng),
        word=lexicon.invented_word(rng),
        word2=lexicon.invented_word(rng),
        adjective=rng.choice(_ADJECTIVES),
        n=rng.randrange(1000),
    )
    begins = template.startswith(("{subject}", "{object}"))
    return text[0].upper() + text[1:] if begins else text
