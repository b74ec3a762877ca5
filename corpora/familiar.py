"""Everyday tools with everyday wording, so that the model also understands plain questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from corpora import lexicon
from corpora.invention import Parameter, Tool, draw_value


@dataclass(frozen=True, slots=True)
class Familiar:
    """A tool and ways to ask for it; `{name}` in a template is the argument of that name."""

    tool: Tool
    templates: tuple[str, ...]


def arg(name: str, kind: str, description: str = "", required: bool = True, **extra: Any) -> Parameter:
    """An argument of an everyday tool; extra: further keys of its schema."""
    types = {"integer": "integer", "number": "number", "boolean": "boolean"}
    schema: dict[str, Any] = {"type": types.get(kind, "string"), **extra}
    if description:
        schema["description"] = description
    return Parameter(name, kind, schema, required, name.replace("_", " "))


def entry(name: str, description: str, parameters: tuple[Parameter, ...], *templates: str) -> Familiar:
    """An everyday tool and ways to ask for it. Its intent is its description: no verb phrase asks for it."""
    return Familiar(Tool(name, description, description, parameters), templates)


_UNITS = arg("unit", "enum", "", False, enum=["celsius", "fahrenheit"])

FAMILIAR: tuple[Familiar, ...] = (
    entry("get_weather", "Get the current weather", (arg("city", "name", "City name"), _UNITS),
       "What is the weather in {city}?", "How's the weather in {city} today?", "weather in {city}",
       "What is the weather in {city} in {unit}?", "Tell me the weather for {city}, {unit} please",
       "Is it raining in {city}?", "Get the weather in {city}"),
    entry("get_weather", "Get the weather for a location", (arg("location", "name"),),
       "What's the weather like in {location}?", "Weather for {location}", "Is it cold in {location}?"),
    entry("search_web", "Search the web", (arg("query", "text"), arg("limit", "integer", "", False)),
       'Search the web for "{query}"', "Google '{query}'", 'Find "{query}" online',
       'Search for "{query}", {limit} results'),
    entry("send_email", "Send an email", (arg("to", "email"), arg("subject", "text"), arg("body", "text")),
       'Send an email to {to} with subject "{subject}" and body "{body}"',
       'Mail {to}: subject "{subject}", text "{body}"', 'Write to {to} about "{subject}", saying "{body}"'),
    entry("read_file", "Read a file", (arg("path", "path"),),
       "Open {path}", "Read {path}", "What is in {path}?", "Show me the file {path}", "cat {path}"),
    entry("write_file", "Write text to a file", (arg("path", "path"), arg("content", "text")),
       'Write "{content}" to {path}', 'Save "{content}" into {path}', 'Put the text "{content}" in {path}'),
    entry("list_files", "List the files in a directory", (arg("directory", "path"),),
       "What files are in {directory}?", "ls {directory}", "List {directory}",
       "Show the files of {directory}"),
    entry("get_time", "Get the current time in a city", (arg("city", "name"),),
       "What time is it in {city}?", "Time in {city}?", "Tell me the time in {city}"),
    entry("get_stock_price", "Get a stock price", (arg("symbol", "id"),),
       "How is {symbol} doing?", "Price of {symbol}", "What does {symbol} trade at?"),
    entry("add", "Add two numbers", (arg("a", "integer"), arg("b", "integer")),
       "What is {a} plus {b}?", "Add {a} and {b}", "{a} + {b}", "Sum of {a} and {b}"),
    entry("multiply", "Multiply two numbers", (arg("a", "integer"), arg("b", "integer")),
       "What is {a} times {b}?", "Multiply {a} by {b}", "{a} * {b}"),
    entry("create_event", "Create a calendar event", (arg("title", "text"), arg("date", "date"),
       arg("time", "time", "", False)),
       'Put "{title}" in my calendar on {date}', 'Schedule "{title}" for {date} at {time}',
       'Meeting "{title}", {date}, {time}'),
    entry("set_timer", "Set a timer", (arg("minutes", "integer"),),
       "Set a timer for {minutes} minutes", "Timer {minutes} minutes", "Wake me in {minutes} minutes"),
    entry("book_flight", "Book a flight",
       (arg("origin", "name"), arg("destination", "name"), arg("date", "date")),
       "Book a flight from {origin} to {destination} on {date}",
       "Fly me from {origin} to {destination} on {date}",
       "I need a flight to {destination} from {origin}, {date}"),
    entry("translate", "Translate text", (arg("text", "text"), arg("language", "name")),
       'Translate "{text}" to {language}', 'How do you say "{text}" in {language}?'),
    entry("convert_currency", "Convert money", (arg("amount", "number"), arg("from", "id"), arg("to", "id")),
       "Convert {amount} {from} to {to}", "How much is {amount} {from} in {to}?"),
    entry("set_light", "Turn a light on or off", (arg("room", "name"), arg("on", "boolean")),
       "Light on={on} in {room}", "Set the light in {room} to {on}"),
    entry("get_order", "Look up an order", (arg("order_id", "id"),),
       "Where is order {order_id}?", "Status of order {order_id}", "Look up {order_id}",
       "Track my order {order_id}"),
    entry("remember", "Store a note", (arg("note", "text"),),
       'Remember "{note}"', 'Note: "{note}"', 'Keep in mind "{note}"'),
    entry("call_contact", "Call somebody", (arg("name", "name"),),
       "Call {name}", "Ring {name} please", "I want to talk to {name}"),
)  # fmt: skip

#: real names, so that plain questions look plain; mixed with invented ones, lest they be learned by heart
_PLACES = """
Paris Berlin London Rome Madrid Lisbon Vienna Prague Oslo Tokyo Osaka Kyoto Delhi Mumbai Cairo Lima
Boston Chicago Dallas Denver Seattle Toronto Sydney Melbourne Dublin Zurich Geneva Milan Turin
Naples Athens Warsaw Helsinki Stockholm Copenhagen Amsterdam Brussels Budapest Istanbul Nairobi
Singapore Bangkok Seoul Beijing Shanghai French German Spanish Italian Japanese Anna Peter Maria
John Alice Robert
""".split()


_PREPOSITIONS = ("in", "for", "to", "of")


def draw_familiar(rng: Random, tools: Sequence[Familiar] = FAMILIAR) -> tuple[Tool, dict[str, Any], str]:
    """One everyday tool, the arguments of one request, and the request."""
    return ask_for(rng, rng.choice(tools))


def ask_for(rng: Random, chosen: Familiar) -> tuple[Tool, dict[str, Any], str]:
    """An everyday tool, the arguments of one request, and the request."""
    template = rng.choice(chosen.templates)
    arguments: dict[str, Any] = {}
    for one in chosen.tool.parameters:
        if "{" + one.name + "}" in template:
            arguments[one.name] = _familiar_value(rng, one)
    spoken = {k: str(v).lower() if isinstance(v, bool) else v for k, v in arguments.items()}
    return chosen.tool, arguments, template.format(**spoken)


_OPEN: Mapping[str, Callable[[Random], str]] = {
    "command": lexicon.command,
    "glob": lexicon.glob,
    "expression": lexicon.expression,
    "url": lexicon.url,
}


def _familiar_value(rng: Random, one: Parameter) -> Any:
    if one.kind in _OPEN:
        return _OPEN[one.kind](rng)
    if one.kind == "place":
        return lexicon.place(rng, rng.choice(_PLACES) if rng.random() < 0.5 else lexicon.invented_name(rng))
    value = draw_value(rng, one)
    if one.kind == "name" and rng.random() < 0.3:
        return rng.choice(_PLACES)
    return value


def ask_again(
    rng: Random, tool: Tool, arguments: Mapping[str, Any], text: str
) -> tuple[dict[str, Any], str, str] | None:
    """The same everyday tool for another value, said as people go on: arguments, joint, words.

    "... in Lisbon" goes on as " and " "in Porto?", or as a sentence of its own. None where the request holds
    anything but one string.
    """
    (name, value), *more = list(arguments.items()) or [("", None)]
    if more or not isinstance(value, str):
        return None
    other = _familiar_value(rng, next(p for p in tool.parameters if p.name == name))
    words = other if value == text or f'"{value}"' not in text else f'"{other}"'
    before = text[: text.index(value)].split()
    lead = before[-1] + " " if before and before[-1] in _PREPOSITIONS else "for "
    if text.rstrip("?.!").endswith(value) and rng.random() < 0.6:
        joint = rng.choice((" and ", " and ", ", ", " and also ", ", and "))
        return {name: other}, joint, rng.choice((lead, "")) + words + rng.choice(("?", "?", "", "."))
    joint = rng.choice((" And ", " And also ", " Also ", " The same ", " And what about it "))
    return {name: other}, joint, lead + words + rng.choice(("?", "?", "", "."))
