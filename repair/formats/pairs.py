"""Keys and values in tags of their own behind a bare name: the reader that GLM's relatives share.

<tool_call>f
<arg_key>k</arg_key>
<arg_value>v</arg_value>
</tool_call>
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace

from repair.markup import MarkupGrammar, Parameters, read_parameters
from repair.names import resolve_name
from repair.regions import Region, close_region, skip_space
from repair.tools import Tool, ToolSet
from repair.types import Body, Fix, FixKind, Problem, RawCall

_TWO_TAGS = re.compile(r"(?P<end>\S+?)\s*(?P<value><[^/<][^<]*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Pairs:
    """Literals of calls in pairs of tags.

    open, close: markers of a call.
    separator: what may follow its name.
    key, key_end, value, value_end: markers of its parameters.
    section, section_end: around all calls, or "".
    """

    open: str
    close: str
    key: str
    key_end: str
    value: str
    value_end: str
    section: str = ""
    section_end: str = ""
    separator: str = ""

    @classmethod
    def of(
        cls, section: str, section_end: str, call: str, call_end: str, parameter: str, parameter_end: str
    ) -> Pairs:
        """Made from literals with placeholders, as a Row has them. Raises ValueError where they are not
        pairs.
        """
        before, _, behind = call.partition("{name}")
        key, _, rest = parameter.partition("{key}")
        found = _TWO_TAGS.match(rest.strip())
        if found is None:
            raise ValueError(f"no two tags behind the key: {parameter!r}")
        return cls(
            *(before.strip(), call_end.strip(), key.strip()),
            *(found.group("end"), found.group("value"), parameter_end.strip()),
            *(section.strip(), section_end.strip(), behind.strip()),
        )

    @functools.cached_property
    def head(self) -> re.Pattern[str]:
        key, key_end, call, close = map(re.escape, (self.key, self.key_end, self.open, self.close))
        again = rf"{call}(?=[^<>\n]*{key_end})"
        separator = rf"(?:{re.escape(self.separator)}\s*)?" if self.separator else ""
        return re.compile(
            rf"\s*(?P<name>[^<>{{}}\[\]\n\"]{{0,256}}?)\s*{separator}(?P<next>{key}|{key_end}|{again}|{close})"
        )

    @functools.cached_property
    def grammar(self) -> MarkupGrammar:
        key, key_end, value, call = map(re.escape, (self.key, self.key_end, self.value, self.open))
        end = re.escape(self.value_end)
        half = rf"(?:{key}|{call})\s*(?:{key}\s*)?(?P<key>[^<>\n]{{1,256}}?)\s*{key_end}"
        # without its own tag a value begins after the key's, or on the next line
        lost = rf"\n?(?P<lost>)(?=[^<\s][^<]*{end})"
        wrong = rf"\s*(?P<wrong>{key})(?=[^<]*{end})"
        # a tag may tell the type: <arg_type>string</arg_type>
        start, end_tag = (re.escape(one.replace("_key", "_type")) for one in (self.key, self.key_end))
        typed = rf"(?:\s*{start}\s*(?P<typed>\w{{1,16}})\s*{end_tag})?" if "_key" in self.key else ""
        opening = rf"{half}(?:\s*{key_end})*{typed}(?:\s*{value}|{wrong}|{lost})"
        return MarkupGrammar(
            *(re.compile(opening), self.value_end, (self.close,)),
            newline=False,
            parameter=self.key,
            value=self.value,
            half=re.compile(half),
        )


def read_pairs(text: str, at: int, form: Pairs, tools: ToolSet) -> Region | None:
    """The region at `at`: a call, or a section of them."""
    if not form.section or not text.startswith(form.section, at):
        return _read_call(text, at, form, tools) if text.startswith(form.open, at) else None
    body = at + len(form.section)
    region, position = None, skip_space(text, body)
    while text.startswith(form.open, position):
        one = _read_call(text, position, form, tools)
        if one is None:
            break
        calls = (*region.calls, *one.calls) if region else one.calls
        region = replace(one, start=at, body_start=body, calls=calls)
        position = skip_space(text, one.end)
        if not one.closed or one.calls[-1].problems:
            return region
    if region is None:
        return None
    fixes: list[Fix] = []
    end, closed, problem = close_region(text, region.end, (form.section_end,), fixes)
    last = replace(region.calls[-1], fixes=(*region.calls[-1].fixes, *fixes))
    calls = (*region.calls[:-1], last, *([problem] if problem else []))
    return replace(region, end=end, closed=closed, calls=calls)


def _read_call(text: str, at: int, form: Pairs, tools: ToolSet) -> Region | None:
    body = at + len(form.open)
    head = form.head.match(text, body)
    if head is None:
        return None
    name, following, fixes = head.group("name").strip(), head.group("next"), list[Fix]()
    if following == form.close and isinstance(resolve_name(name, tools), Problem):
        return None
    start = head.start("next")
    if following == form.key_end:
        split = _unfuse(name, tools)
        if split is None:
            return None
        fixes.append(Fix(FixKind.corrupted_marker, "", name, f"{split[0]}{form.key}{split[1]}"))
        name, key = split
        found = _read_fused(text, head.end() - len(form.key_end), key, tools.get(name), form)
    else:
        if following == form.open:
            fixes.append(Fix(FixKind.corrupted_marker, "", form.open, form.key))
        resolved = resolve_name(name, tools)
        tool = None if isinstance(resolved, Problem) else resolved[0]
        found = read_parameters(text, start, tool, form.grammar)
    return _region(text, at, name, fixes, found, form)


def _region(text: str, at: int, name: str, fixes: list[Fix], found: Parameters, form: Pairs) -> Region:
    body = at + len(form.open)
    problems: tuple[Problem, ...] = (found.problem,) if found.problem else ()
    end, closed = found.end, found.closed
    if not problems and not text.startswith(form.close, end - len(form.close)) and end < len(text):
        end, closed, problem = close_region(text, end, (form.close,), fixes)
        problems = problem.problems if problem else ()
    fixes += found.fixes
    if form.key_end * 2 in text[body:end].replace("\n", ""):
        fixes.append(Fix(FixKind.extra_closer, "", form.key_end, ""))
    if form.key * 2 in text[body:end].replace("\n", ""):
        fixes.append(Fix(FixKind.corrupted_marker, "", form.key * 2, form.key))
    call = RawCall(name, Body.tree, text[body:end], closed, found.tree, tuple(fixes), problems)
    return Region(at, end, body, (call,), closed, fragile=(form.close, form.value_end))


def _unfuse(fused: str, tools: ToolSet) -> tuple[str, str] | None:
    """A declared name and one of its keys that together are `fused`, if there is only one such pair."""
    pairs = [
        (name, fused[len(name) :].strip())
        for name in tools.names
        if fused.startswith(name) and (tool := tools.get(name)) and fused[len(name) :].strip() in tool.keys
    ]
    return pairs[0] if len(pairs) == 1 else None


def _read_fused(text: str, at: int, key: str, tool: Tool | None, form: Pairs) -> Parameters:
    """The parameters of a call whose first opening tag of a key is lost."""
    value = re.compile(rf"(?:{re.escape(form.key_end)}\s*)+{re.escape(form.value)}").match(text, at)
    if value is None:
        return Parameters(at).refuse("syntax", f"no value follows the key {key!r}", len(text))
    end = text.find(form.value_end, value.end())
    if end < 0:
        return Parameters(at).refuse("truncated", f"the value of {key!r} does not end", len(text))
    rest = read_parameters(text, end + len(form.value_end), tool, form.grammar)
    if key in rest.tree:
        return rest.refuse("duplicate_parameter", f"{key!r} is given twice", rest.end)
    alone = f"{form.key}{key}{form.key_end}{form.value}{text[value.end() : end]}{form.value_end}{form.close}"
    first = read_parameters(alone, 0, tool, form.grammar)
    rest.tree = {**first.tree, **rest.tree}
    rest.problem = rest.problem or first.problem
    return rest
