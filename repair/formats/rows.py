"""The table of formats that are nothing but literals."""

from __future__ import annotations

from dataclasses import replace

from repair.formats.row import Row

_GCML, _DSML = "\uff5cGCML\uff5c", "\uff5cDSML\uff5c"
_PLAMO = "<|plamo:{}_tool_{}:plamo|>"
_PLAMO_JSON = "<|plamo:constrain|>json<|plamo:msg|>"
_IFM_THINK = tuple((f"<ifm|{one}>", f"</ifm|{one}>") for one in ("think", "think_fast", "think_faster"))
_THINK = (("<think>", "</think>"),)


def _array(name: str, section: str, section_end: str) -> Row:
    """An array of objects between two markers."""
    return Row(name, "objects", section, section_end, listed=True, joint=", ", reasoning=_THINK)


def _invokes(name: str, mark: str, space: str, section: str) -> Row:
    """DeepSeek's tags with another mark."""
    return Row(
        name,
        "tags",
        section=f"<{mark}{space}{section}>\n",
        section_end=f"\n</{mark}{space}{section}>",
        call=f'<{mark}{space}invoke name="{{name}}">\n',
        parameter=f'<{mark}{space}parameter name="{{key}}" string="{{string}}">',
        parameter_end=f"</{mark}{space}parameter>\n",
        call_end=f"</{mark}{space}invoke>",
        joint="\n",
        reasoning=_THINK,
    )


def _plain_invokes(name: str, section: str) -> Row:
    """MiniMax M2's tags in another envelope."""
    return Row(
        name,
        "tags",
        section=f"<{section}>\n",
        section_end=f"\n</{section}>",
        call='<invoke name="{name}">\n',
        parameter='<parameter name="{key}">',
        parameter_end="</parameter>\n",
        call_end="</invoke>",
        joint="\n",
        reasoning=_THINK,
    )


def _pairs(name: str, mark: str, tag: str, line: str) -> Row:
    """GLM's tags with other names."""
    return Row(
        name,
        "pairs",
        call=f"<{tag}>{{name}}{line}",
        parameter=f"<{mark}_key>{{key}}</{mark}_key>{line}<{mark}_value>",
        parameter_end=f"</{mark}_value>{line}",
        call_end=f"</{tag}>",
        joint="\n",
        reasoning=_THINK,
    )


ROWS: tuple[Row, ...] = (
    _array("nemotron", "<TOOLCALL>", "</TOOLCALL>"),
    _array("hunyuan_a13b", "<tool_calls>", "</tool_calls>"),
    Row(
        *("internlm", "objects"),
        call="<|action_start|><|plugin|>",
        call_end="<|action_end|>",
        joint="\n",
        arguments_key="parameters",
        also=("<|action_start|> <|plugin|>",),
        reasoning=_THINK,
    ),
    Row(
        *("apertus", "objects"),
        section="<|tools_prefix|>",
        section_end="<|tools_suffix|>",
        listed=True,
        joint=", ",
        name_key="",
        reasoning=(("<|inner_prefix|>", "<|inner_suffix|>"),),
    ),
    Row(
        *("longcat", "objects"),
        call="<longcat_tool_call>\n",
        call_end="\n</longcat_tool_call>",
        joint="\n",
        reasoning=(("<longcat_think>", "</longcat_think>"),),
    ),
    _array("granite", "<|tool_call|>", ""),
    _array("pangu", "[unused11]", "[unused12]"),
    Row(
        *("gigachat", "objects"),
        call="<|message_sep|>\n\nfunction call<|role_sep|>\n",
        joint="",
        dropped=("<|message_sep|>",),
    ),
    Row("gigachat31", "objects", call="<|function_call|>", dropped=("<|message_sep|>",)),
    Row(
        *("solar", "named"),
        section="<|tool_calls|>",
        call="<|tool_call:begin|>{id}<|tool_call:name|>{name}<|tool_call:args|>",
        call_end="<|tool_call:end|>",
        reasoning=(("<|think|>", "<|end|>"),),
        dropped=("<|calls|>",),
    ),
    Row(
        *("plamo", "named"),
        section=_PLAMO.format("begin", "requests"),
        section_end=_PLAMO.format("end", "requests"),
        call=_PLAMO.format("begin", "request")
        + _PLAMO.format("begin", "name")
        + "{name}"
        + _PLAMO.format("end", "name")
        + _PLAMO.format("begin", "arguments")
        + _PLAMO_JSON,
        optional=_PLAMO_JSON,
        call_end=_PLAMO.format("end", "arguments") + _PLAMO.format("end", "request"),
        reasoning=(("<|plamo:begin_think:plamo|>", "<|plamo:end_think:plamo|>"),),
        dropped=("<|plamo:tag|>",),
    ),
    Row(
        *("step_audio", "named"),
        call="<tool_call>function\n{name}\n",
        call_end="</tool_call>",
        joint="\n",
        reasoning=_THINK,
    ),
    Row(
        *("cwm", "named"),
        call="<tool: function>\n{name} ",
        call_end="\n</tool>",
        joint="\n",
        reasoning=_THINK,
    ),
    Row(
        *("clova", "objects"),
        section="<|im_start|>assistant -> tool/function_call\n",
        section_end="<|im_end|>",
        listed=True,
        joint=", ",
        start="<|im_start|>assistant",
        also=("<|im_end|>\n<|im_start|>assistant -> tool/function_call",),
        reasoning=(("<|im_start|>assistant/think", "<|im_end|>"),),
        dropped=("<|stop|>",),
    ),
    Row(
        "qwen_agent",
        "named",
        call="✿FUNCTION✿: {name}\n✿ARGS✿: ",
        joint="\n",
        dropped=("✿RESULT✿:", "✿RESULT✿", "✿RETURN✿:", "✿RETURN✿"),
    ),
    _invokes("dsml41", _DSML, " ", "calls"),
    _invokes("gcml", _GCML, "", "tool_calls"),
    _plain_invokes("dots", "dots_function_call"),
    _plain_invokes("rwkv", "tool_call"),
    Row(
        *("ifm_json", "objects"),
        section="<ifm|tool_calls>\n",
        section_end="\n</ifm|tool_calls>",
        call="<ifm|tool_call>",
        call_end="</ifm|tool_call>",
        joint="\n",
        reasoning=_IFM_THINK,
    ),
    replace(
        _pairs("ifm", "ifm|arg", "ifm|tool_call", "\n"),
        section="<ifm|tool_calls>\n",
        section_end="\n</ifm|tool_calls>",
        reasoning=_IFM_THINK,
    ),
    _pairs("iquest", "arg", "iquest_tool_call", ""),
    _pairs("iquest_coder", "arg", "iquestcoder_tool_call", ""),
    _pairs("telechat", "param", "tool_call", ""),
    Row(
        *("solar2", "tags"),
        call="<|tool_call:start|>{name}\n",
        parameter="<|tool_arg:start|>{key}<|tool_arg:value|>",
        parameter_end="<|tool_arg:end|>\n",
        call_end="<|tool_call:end|>",
        joint="\n",
        reasoning=(("<|think:start|>", "<|think:end|>"),),
    ),
    Row(
        *("kimi_k3", "tags"),
        section="<|open|>tools<|sep|>",
        section_end="<|close|>tools<|sep|>",
        call='<|open|>call tool="{name}" index="{index}"<|sep|>',
        parameter='<|open|>argument key="{key}" type="{type}"<|sep|>',
        parameter_end="<|close|>argument<|sep|>",
        call_end="<|close|>call<|sep|>",
        reasoning=(("<|open|>think<|sep|>", "<|close|>think<|sep|>"),),
        dropped=(
            '<|open|>message role="assistant"<|sep|>',
            "<|open|>response<|sep|>",
            "<|close|>response<|sep|>",
            "<|close|>message<|sep|>",
            "<|end_of_msg|>",
        ),
    ),
)
