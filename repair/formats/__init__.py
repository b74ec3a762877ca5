"""The wire formats: a table of modules, and which of them a model's text is read with."""

from __future__ import annotations

from collections.abc import Callable

from repair.formats import (
    apertus,
    bare_json,
    bare_python,
    calling,
    command,
    deepseek,
    deepseek_v31,
    dsml,
    function_gemma,
    functionary,
    gemma4,
    glm,
    granite,
    harmony,
    hermes,
    hunyuan,
    hunyuan_a13b,
    internlm,
    kimi,
    lfm2,
    llama3,
    llama4,
    longcat,
    minicpm,
    minimax,
    mistral,
    nemotron,
    olmo3,
    phi4,
    qwen_xml,
    seed,
    step3,
)
from repair.regions import Format
from repair.tools import ToolSet

FORMATS: dict[str, Format] = {
    one.NAME: one
    for one in (
        *(hermes, qwen_xml, glm, minimax, dsml, step3, seed, minicpm),
        *(mistral, deepseek_v31, deepseek, kimi, hunyuan, functionary, harmony, command),
        *(llama3, granite, phi4, nemotron, hunyuan_a13b, internlm, apertus, longcat),
        *(lfm2, llama4, olmo3, gemma4, function_gemma, calling, bare_json, bare_python),
    )
}
AUTO = "auto"

# a tool's name between these two is an opening marker too
NAMED_OPENERS = {one.NAME: one.NAMED_OPENER for one in (mistral, functionary, gemma4)}

# formats that may end a call with nothing but the marker of the next one
UNMARKED = frozenset(one.NAME for one in (mistral, functionary, llama3, granite, phi4, harmony))
# what ends a whole region, where that is not any of CLOSERS
ENDS: dict[str, tuple[str, ...]] = {
    qwen_xml.NAME: qwen_xml.FORM.closers,
    seed.NAME: seed.FORM.closers,
    minimax.NAME: minimax.FORM.closers,
    dsml.NAME: dsml.FORM.closers,
    step3.NAME: (step3.CLOSE, step3.SECTION_END),
    glm.NAME: (glm.CLOSE,),
    minicpm.NAME: (minicpm.FUNCTION_END,),
    deepseek.NAME: deepseek.FORM.section_ends,
    deepseek_v31.NAME: deepseek_v31.FORM.section_ends,
    kimi.NAME: kimi.FORM.section_ends,
    calling.NAME: (")]", '"]'),
}

# formats whose call is the whole message: how it begins
MESSAGES: dict[str, Callable[[str, ToolSet], bool | None]] = {
    bare_json.NAME: bare_json.may_begin,
    bare_python.NAME: bare_python.may_begin,
}

# markers that belong to a message's frame and to nobody's content
DROPPED = {harmony.NAME: harmony.DROPPED, command.NAME: command.DROPPED}
FRAMED = frozenset((harmony.NAME,))
FRAME_ENDS = harmony.FRAME_ENDS
# what the generation prompt ends with where that is the beginning of a call's opening marker
STARTS = {harmony.NAME: harmony.START}

_NEIGHBOURS = {
    "hermes": ("qwen_xml",),
    "qwen_xml": ("hermes",),
    "glm": ("hermes",),
    "minimax": ("qwen_xml",),
    "deepseek": ("deepseek_v31",),
    "deepseek_v31": ("deepseek",),
    "llama3": ("qwen_xml", "bare_python"),
    "llama4": ("bare_python", "llama3"),
    "lfm2": ("bare_python",),
    "granite": ("hermes",),
    "seed": ("qwen_xml",),
    "gemma4": ("bare_python",),
}
_TEMPLATE_MARKS = (
    ("<minimax:tool_call>", "minimax"),
    ("\uff5cDSML\uff5c", "dsml"),
    ("steptml:", "step3"),
    ("<seed:tool_call>", "seed"),
    ("<tool_call:opensource>", "hunyuan"),
    ("<|tool_calls_section_begin|>", "kimi"),
    ("<longcat_tool_call>", "longcat"),
    ("<|tool_call_start|>", "lfm2"),
    ("<|python_start|>", "llama4"),
    ("<start_function_call>", "function_gemma"),
    ("<tool_call|>", "gemma4"),
    ("<|START_ACTION|>", "command"),
    ("<|tools_prefix|>", "apertus"),
    ("<|plugin|>", "internlm"),
    ("<TOOLCALL>", "nemotron"),
    ("functools[", "phi4"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|tool_call|>", "granite"),
    (">>>", "functionary"),
    ("<arg_key>", "glm"),
    ("<function=", "qwen_xml"),
    ("<param name=", "minicpm"),
    ("<function_calls>", "olmo3"),
    ("<tool_calls>", "hunyuan_a13b"),
    ("<tool_call>", "hermes"),
    ("<|python_tag|>", "llama3"),
    ("<|channel|>", "harmony"),
)


def formats_for(name: str) -> tuple[Format, ...]:
    """The formats that text of a model of format `name` is read with, in order.

    `auto` is all of them; a named format is itself, the ones that its models slip into, and bare JSON.
    Raises KeyError for a name that is not in the table.
    """
    if name == AUTO:
        return tuple(FORMATS.values())
    names = dict.fromkeys((name, *_NEIGHBOURS.get(name, ()), "bare_json"))
    return tuple(FORMATS[one] for one in names)


def detect_format(chat_template: str | None) -> str:
    """The format that a chat template (Jinja text) teaches; `auto` where it shows none that we know."""
    if not chat_template:
        return AUTO
    if "<\uff5ctool\u2581calls\u2581begin\uff5c>" in chat_template:
        return "deepseek" if "```json" in chat_template else "deepseek_v31"
    return next((name for mark, name in _TEMPLATE_MARKS if mark in chat_template), AUTO)
