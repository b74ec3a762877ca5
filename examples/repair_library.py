"""The repair package alone, without a server: text and schemas in, calls and findings out.

python examples/repair_library.py
"""

from __future__ import annotations

from repair import Accepted, Rejected, ToolDefinition, ToolSet, Turn, correction, repair_arguments

TOOLS = ToolSet.compile(
    [
        ToolDefinition(
            "get_weather",
            "Get the forecast of a city",
            {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        )
    ]
)


def one_call(arguments: str) -> str:
    """For an API that sends calls as structure: the arguments as they came, checked and mended."""
    match repair_arguments("get_weather", arguments, TOOLS):
        case Accepted(call, fixes):
            return f"{call.arguments}  ({', '.join(fix.kind for fix in fixes) or 'as it was'})"
        case Rejected(problems):
            return correction(problems, TOOLS, "get_weather")  # what to send back to the model


def whole_turn(pieces: list[str]) -> str:
    """For the text of a model, streamed: words leave at once, calls when they have been checked."""
    turn = Turn(TOOLS)
    for piece in pieces:
        for delta in turn.feed(piece):
            print("shown:", repr(delta.text))
    outcome = turn.close("stop")
    return f"{outcome.verdict}: {[(call.name, call.arguments) for call in outcome.calls]}"


if __name__ == "__main__":
    print(one_call('{"city": "Oslo", "days": 3}'))
    print(one_call('{"city": "Oslo", "days": "3",}'))
    print(one_call('{"days": 3}'))
    print(
        whole_turn(
            ["I will ", "look.\n<tool_call>\n{'name': 'get_weather', ", "'arguments': {'city': 'Oslo'}}"]
        )
    )
