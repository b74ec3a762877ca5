"""Everyday tools with everyday wording, so that the model also understands plain questions."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from corpora.invention import Parameter, Tool, draw_value


@dataclass(frozen=True, slots=True)
class Familiar:
    """A tool and ways to ask for it; `{name}` in a template is the argument of that name."""

    tool: Tool
    templates: tuple[str, ...]


def _p(name: str, kind: str, description: str = "", required: bool = True, **extra: Any) -> Parameter:
    types = {"integer": "integer", "number": "number", "boolean": "boolean"}
    schema: dict[str, Any] = {"type": types.get(kind, "string"), **extra}
    if description:
        schema["description"] = description
    return Parameter(name, kind, schema, required, name.replace("_", " "))


def _f(name: str, description: str, parameters: tuple[Parameter, ...], *templates: str) -> Familiar:
    return Familiar(Tool(name, description, description, parameters), templates)


_UNITS = _p("unit", "enum", "", False, enum=["celsius", "fahrenheit"])

FAMILIAR: tuple[Familiar, ...] = (
    _f("get_weather", "Get the current weather", (_p("city", "name", "City name"), _UNITS),
       "What is the weather in {city}?", "How's the weather in {city} today?", "weather in {city}",
       "What is the weather in {city} in {unit}?", "Tell me the weather for {city}, {unit} please",
       "Is it raining in {city}?", "Get the weather in {city}"),
    _f("get_weather", "Get the weather for a location", (_p("location", "name"),),
       "What's the weather like in {location}?", "Weather for {location}", "Is it cold in {location}?"),
    _f("search_web", "Search the web", (_p("query", "text"), _p("limit", "integer", "", False)),
       'Search the web for "{query}"', "Google '{query}'", 'Find "{query}" online',
       'Search for "{query}", {limit} results'),
    _f("send_email", "Send an email", (_p("to", "email"), _p("subject", "text"), _p("body", "text")),
       'Send an email to {to} with subject "{subject}" and body "{body}"',
       'Mail {to}: subject "{subject}", text "{body}"', 'Write to {to} about "{subject}", saying "{body}"'),
    _f("read_file", "Read a file", (_p("path", "path"),),
       "Open {path}", "Read {path}", "What is in {path}?", "Show me the file {path}", "cat {path}"),
    _f("write_file", "Write text to a file", (_p("path", "path"), _p("content", "text")),
       'Write "{content}" to {path}', 'Save "{content}" into {path}', 'Put the text "{content}" in {path}'),
    _f("list_files", "List the files in a directory", (_p("directory", "path"),),
       "What files are in {directory}?", "ls {directory}", "List {directory}",
       "Show the files of {directory}"),
    _f("get_time", "Get the current time in a city", (_p("city", "name"),),
       "What time is it in {city}?", "Time in {city}?", "Tell me the time in {city}"),
    _f("get_stock_price", "Get a stock price", (_p("symbol", "id"),),
       "How is {symbol} doing?", "Price of {symbol}", "What does {symbol} trade at?"),
    _f("add", "Add two numbers", (_p("a", "integer"), _p("b", "integer")),
       "What is {a} plus {b}?", "Add {a} and {b}", "{a} + {b}", "Sum of {a} and {b}"),
    _f("multiply", "Multiply two numbers", (_p("a", "integer"), _p("b", "integer")),
       "What is {a} times {b}?", "Multiply {a} by {b}", "{a} * {b}"),
    _f("create_event", "Create a calendar event", (_p("title", "text"), _p("date", "date"),
       _p("time", "time", "", False)),
       'Put "{title}" in my calendar on {date}', 'Schedule "{title}" for {date} at {time}',
       'Meeting "{title}", {date}, {time}'),
    _f("set_timer", "Set a timer", (_p("minutes", "integer"),),
       "Set a timer for {minutes} minutes", "Timer {minutes} minutes", "Wake me in {minutes} minutes"),
    _f("book_flight", "Book a flight", (_p("origin", "name"), _p("destination", "name"), _p("date", "date")),
       "Book a flight from {origin} to {destination} on {date}",
       "Fly me from {origin} to {destination} on {date}",
       "I need a flight to {destination} from {origin}, {date}"),
    _f("translate", "Translate text", (_p("text", "text"), _p("language", "name")),
       'Translate "{text}" to {language}', 'How do you say "{text}" in {language}?'),
    _f("convert_currency", "Convert money", (_p("amount", "number"), _p("from", "id"), _p("to", "id")),
       "Convert {amount} {from} to {to}", "How much is {amount} {from} in {to}?"),
    _f("set_light", "Turn a light on or off", (_p("room", "name"), _p("on", "boolean")),
       "Light on={on} in {room}", "Set the light in {room} to {on}"),
    _f("get_order", "Look up an order", (_p("order_id", "id"),),
       "Where is order {order_id}?", "Status of order {order_id}", "Look up {order_id}",
       "Track my order {order_id}"),
    _f("remember", "Store a note", (_p("note", "text"),),
       'Remember "{note}"', 'Note: "{note}"', 'Keep in mind "{note}"'),
    _f("call_contact", "Call somebody", (_p("name", "name"),),
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


def draw_familiar(rng: Random) -> tuple[Tool, dict[str, Any], str]:
    """One everyday tool, the arguments of one request, and the request."""
    chosen = rng.choice(FAMILIAR)
    template = rng.choice(chosen.templates)
    arguments: dict[str, Any] = {}
    for parameter in chosen.tool.parameters:
        if "{" + parameter.name + "}" in template:
            value = draw_value(rng, parameter)
            if parameter.kind == "name" and rng.random() < 0.3:
                value = rng.choice(_PLACES)
            arguments[parameter.name] = value
    spoken = {k: str(v).lower() if isinstance(v, bool) else v for k, v in arguments.items()}
    return chosen.tool, arguments, template.format(**spoken)
