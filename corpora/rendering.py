"""The bundled model's chat template, and the same rendering in Python with the learned spans marked.

The form is Qwen's ChatML with Hermes tool calls (`<tool_call>` around a JSON object with `name` and
`arguments`), shortened: each tool is one line of JSON without the `type: function` wrapper, to spare a
small context.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from corpora.conversations import Conversation, Message

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKER_TOKENS = ("<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

CHAT_TEMPLATE = """\
{%- if messages and messages[0].role in ('system', 'developer') -%}
{%- set opening = messages[0].content or '' -%}{%- set rest = messages[1:] -%}
{%- else -%}{%- set opening = '' -%}{%- set rest = messages -%}{%- endif -%}
{%- if opening or tools -%}
{{- '<|im_start|>system\\n' + opening -}}
{%- if tools -%}
{{- ('\\n\\n' if opening else '') + '# Tools\\n<tools>\\n' -}}
{%- for tool in tools -%}
{%- set f = tool.function if tool.function is defined else tool -%}
{{- '{"name": ' + (f.name | tojson) + ', "description": ' + ((f.description or '') | tojson) -}}
{{- ', "parameters": ' + ((f.parameters or {}) | tojson) + '}\\n' -}}
{%- endfor -%}
{{- '</tools>' -}}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in rest -%}
{%- if message.role == 'tool' -%}
{%- if loop.first or rest[loop.index0 - 1].role != 'tool' -%}{{- '<|im_start|>user' -}}{%- endif -%}
{{- '\\n<tool_response>\\n' + (message.content or '') + '\\n</tool_response>' -}}
{%- if loop.last or rest[loop.index0 + 1].role != 'tool' -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
{%- else -%}
{%- set role = 'system' if message.role == 'developer' else message.role -%}
{{- '<|im_start|>' + role + '\\n' + (message.content or '') -}}
{%- for call in message.tool_calls or [] -%}
{%- set tool_call = call.function if call.function is defined else call -%}
{%- if message.content or not loop.first -%}{{- '\\n' -}}{%- endif -%}
{{- '<tool_call>\\n{"name": ' + (tool_call.name | tojson) + ', "arguments": ' -}}
{{- tool_call.arguments if tool_call.arguments is string else (tool_call.arguments | tojson) -}}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def render_spans(conversation: Conversation) -> Iterator[tuple[str, bool]]:
    """The conversation as `(text, learned)` spans; joined they are what CHAT_TEMPLATE renders."""
    messages = list(conversation.messages)
    opening = messages.pop(0)["content"] if messages and messages[0]["role"] == "system" else ""
    if opening or conversation.tools:
        yield f"<|im_start|>system\n{opening}{_tool_block(conversation, bool(opening))}<|im_end|>\n", False
    for position, message in enumerate(messages):
        if message["role"] == "tool":
            before = position > 0 and messages[position - 1]["role"] == "tool"
            after = position + 1 < len(messages) and messages[position + 1]["role"] == "tool"
            head = "" if before else "<|im_start|>user"
            tail = "" if after else "<|im_end|>\n"
            yield f"{head}\n<tool_response>\n{message['content']}\n</tool_response>{tail}", False
        elif message["role"] == "assistant":
            yield "<|im_start|>assistant\n", False
            yield f"{assistant_text(message)}<|im_end|>", message.get("learned", True)
            yield "\n", False
        else:
            yield f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n", False


def assistant_text(message: Message) -> str:
    """What the assistant wrote: its text, then its calls in Hermes form."""
    parts = [message["content"]] if message["content"] else []
    for call in message.get("tool_calls", ()):
        function = call["function"]
        name = json.dumps(function["name"], ensure_ascii=False)
        parts.append(f'<tool_call>\n{{"name": {name}, "arguments": {function["arguments"]}}}\n</tool_call>')
    return "\n".join(parts)


def _tool_block(conversation: Conversation, after_text: bool) -> str:
    if not conversation.tools:
        return ""
    lines = []
    for tool in conversation.tools:
        function = tool["function"]
        parts = [
            f"{json.dumps(k)}: {json.dumps(function.get(k, ''), ensure_ascii=False)}"
            for k in ("name", "description", "parameters")
        ]
        lines.append("{" + ", ".join(parts) + "}\n")
    return ("\n\n" if after_text else "") + "# Tools\n<tools>\n" + "".join(lines) + "</tools>"
