"""The wire formats: a table of modules, and the choice of those with which a model's text is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from repair.formats import (
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
    harmony,
    hermes,
    hunyuan,
    hunyuan3,
    inkling,
    kimi,
    lfm2,
    llama3,
    llama4,
    minicpm,
    minimax,
    minimax_m3,
    mistral,
    muse,
    olmo3,
    phi4,
    qwen_xml,
    seed,
    step3,
)
from repair.formats.row import Row
from repair.formats.rows import ROWS
from repair.formats.shapes import RowFormat
from repair.reasoning import Pair
from repair.regions import Format
from repair.tools import ToolSet

_ROWS = {one.name: RowFormat(one) for one in ROWS}
_ALL: tuple[Format, ...] = (
    hermes,
    qwen_xml,
    glm,
    minimax,
    minimax_m3,
    dsml,
    step3,
    seed,
    minicpm,
    mistral,
    deepseek_v31,
    deepseek,
    kimi,
    hunyuan,
    functionary,
    muse,
    harmony,
    command,
    llama3,
    phi4,
    *_ROWS.values(),
    inkling,
    hunyuan3,
    lfm2,
    llama4,
    olmo3,
    gemma4,
    function_gemma,
    calling,
    bare_json,
    bare_python,
)
FORMATS: dict[str, Format] = {one.NAME: one for one in _ALL}
AUTO = "auto"

# a tool's name between these two is an opening marker, too
NAMED_OPENERS = {one.NAME: one.NAMED_OPENER for one in (mistral, functionary, gemma4)}

# formats in which a call may end with only the marker of the next one
_UNMARKED = frozenset(one.NAME for one in (mistral, functionary, llama3, phi4, harmony))
# what ends a whole region, where that is not any of CLOSERS
_ENDS: dict[str, tuple[str, ...]] = {
    qwen_xml.NAME: qwen_xml.FORM.closers,
    seed.NAME: seed.FORM.closers,
    minimax.NAME: minimax.FORM.closers,
    minimax_m3.NAME: minimax_m3.ENDS,
    muse.NAME: muse.ENDS,
    dsml.NAME: dsml.FORM.closers,
    step3.NAME: (step3.CLOSE, step3.SECTION_END),
    glm.NAME: (glm.CLOSE,),
    minicpm.NAME: (minicpm.FUNCTION_END,),
    deepseek.NAME: deepseek.FORM.section_ends,
    deepseek_v31.NAME: deepseek_v31.FORM.section_ends,
    kimi.NAME: kimi.FORM.section_ends,
    calling.NAME: (")]", '"]'),
}


def region_ends(form: Format) -> tuple[str, ...]:
    """The markers one of which ends a whole region of the format."""
    return form.ENDS if isinstance(form, RowFormat) else _ENDS.get(form.NAME, form.CLOSERS)


def is_unmarked(form: Format) -> bool:
    """Whether a call may end with only the marker of the next one."""
    if isinstance(form, RowFormat):
        return not form.ENDS and (form.row.shape == "objects" or not form.row.section.strip())
    return form.NAME in _UNMARKED


# formats whose call is the whole message: how it begins
MESSAGES: dict[str, Callable[[str, ToolSet], bool | None]] = {
    bare_json.NAME: bare_json.may_begin,
    bare_python.NAME: bare_python.may_begin,
}

# markers that belong to a message's frame and are not content
_DROPPED = {one.NAME: one.DROPPED for one in (harmony, command, muse, gemma4, inkling)}
FRAMED = frozenset((harmony.NAME,))
FRAMES = frozenset(harmony.DROPPED)
FRAME_ENDS = harmony.FRAME_ENDS


def remains_of(forms: Iterable[Format]) -> tuple[str, ...]:
    """Literals that stand in calls of these formats only, behind what opens them: closing markers, and what
    parts a name from its arguments.
    """
    found: dict[str, None] = {}
    for form in forms:
        between = form.BETWEEN if isinstance(form, RowFormat) else ()
        found.update(dict.fromkeys((*form.CLOSERS, *between)))
    return tuple(one for one in found if one not in FRAME_ENDS)


# what the generation prompt ends with where that is the beginning of a call's opening marker
_STARTS = {harmony.NAME: harmony.START, muse.NAME: muse.START}


def dropped(form: Format) -> tuple[str, ...]:
    """Markers of the format that are not content."""
    return form.row.dropped if isinstance(form, RowFormat) else _DROPPED.get(form.NAME, ())


def start(form: Format) -> str:
    """What the generation prompt of the format ends with, if a marker begins there; else ""."""
    return form.row.start if isinstance(form, RowFormat) else _STARTS.get(form.NAME, "")


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
    "muse": ("harmony",),
    "hunyuan3": ("hunyuan", "hunyuan_a13b", "glm"),
    "hunyuan": ("hunyuan3",),
    "hunyuan_a13b": ("hunyuan3",),
    "dsml41": ("dsml",),
    "ifm": ("ifm_json",),
    "ifm_json": ("ifm",),
    "telechat": ("hermes", "glm"),
    "rwkv": ("hermes", "qwen_xml"),
    "step_audio": ("hermes",),
}
# what opens their calls stands in other templates too
_SHARED = ("granite", "hunyuan_a13b", "dsml41", "rwkv", "telechat", "step_audio", "ifm_json")
_ROW_MARKS = tuple((one.OPENERS[0], one.NAME) for one in _ROWS.values())
_TEMPLATE_MARKS = (
    ("]<]minimax[>[", "minimax_m3"),
    ("<atem:function_calls>", "muse"),
    (inkling.CALL, "inkling"),
    *(mark for mark in _ROW_MARKS if mark[1] not in _SHARED),
    ("<\uff5cDSML\uff5c calls>", "dsml41"),
    ("<tool_calls:", "hunyuan3"),
    ("<tool_calls{}>", "hunyuan3"),
    ("<minimax:tool_call>", "minimax"),
    ("\uff5cDSML\uff5c", "dsml"),
    ("steptml:", "step3"),
    ("<seed:tool_call>", "seed"),
    ("<tool_call:opensource>", "hunyuan"),
    ("<|tool_calls_section_begin|>", "kimi"),
    ("<|tool_call_start|>", "lfm2"),
    ("<|python_start|>", "llama4"),
    ("<start_function_call>", "function_gemma"),
    ("<tool_call|>", "gemma4"),
    ("<|START_ACTION|>", "command"),
    ("functools[", "phi4"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|tool_call|>", "granite"),
    (">>>", "functionary"),
    ("<arg_key>", "glm"),
    ("<function=", "qwen_xml"),
    ("<param name=", "minicpm"),
    ("<param_key>", "telechat"),
    ("<tool_call>function\n", "step_audio"),
    ("<tool_call>function\\n", "step_audio"),
    ("<function_calls>", "olmo3"),
    ("<tool_calls>", "hunyuan_a13b"),
    ("<invoke name=", "rwkv"),
    ("<tool_call>", "hermes"),
    ("<|python_tag|>", "llama3"),
    ("<|channel|>", "harmony"),
)


@dataclass(frozen=True)
class Wire:
    """How one model writes, where that is not a format of the table: declared, or derived from its template.

    formats: to try, in order.
    reasoning: pairs of markers besides the known ones.
    """

    name: str
    formats: tuple[Format, ...]
    reasoning: tuple[Pair, ...] = ()

    @classmethod
    def of(cls, row: Row) -> Wire:
        return cls(row.name, (RowFormat(row), FORMATS["bare_json"]), row.reasoning)

    def __str__(self) -> str:
        return self.name


def formats_for(name: str | Wire) -> tuple[Format, ...]:
    """The formats with which text of a model of format `name` is read, in order.

    `auto` is all of them; a named format is itself, the formats that its models slip into, and bare JSON.
    Raises KeyError for a name that is not in the table.
    """
    if isinstance(name, Wire):
        return name.formats
    if name == AUTO:
        return tuple(FORMATS.values())
    names = dict.fromkeys((name, *_NEIGHBOURS.get(name, ()), "bare_json"))
    return tuple(FORMATS[one] for one in names)


def detect_format(chat_template: str | None) -> str:
    """The format that a chat template (Jinja text) teaches; `auto` where it shows none that is known."""
    if not chat_template:
        return AUTO
    if "<\uff5ctool\u2581calls\u2581begin\uff5c>" in chat_template:
        return "deepseek" if "```json" in chat_template else "deepseek_v31"
    return next((name for mark, name in _TEMPLATE_MARKS if mark in chat_template), AUTO)
