"""A prompt that is gone on from as it stands: no chat template, no rules, no tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.errors import InvalidRequest
from engine.long_text import Budget
from engine.template import ChatTemplate, Rendered
from proxy.conversation.request import RawPrompt


@dataclass(frozen=True, slots=True)
class InfillMarkers:
    """How a model is asked for the text between two others: the tokens in the order in which they stand, each
    followed by what belongs there (`prefix`, `suffix`, or nothing).
    """

    order: tuple[tuple[str, str], ...]

    def known(self, markers: Mapping[str, int]) -> bool:
        return all(marker in markers for marker, _ in self.order)


# The vocabularies that were trained to fill in, by the token names that their model cards document.
INFILL: tuple[InfillMarkers, ...] = (
    # Qwen2.5-Coder, Qwen3-Coder, CodeGemma
    InfillMarkers((("<|fim_prefix|>", "prefix"), ("<|fim_suffix|>", "suffix"), ("<|fim_middle|>", ""))),
    # StarCoder, StarCoder2, Granite Code
    InfillMarkers((("<fim_prefix>", "prefix"), ("<fim_suffix>", "suffix"), ("<fim_middle>", ""))),
    # SantaCoder
    InfillMarkers((("<fim-prefix>", "prefix"), ("<fim-suffix>", "suffix"), ("<fim-middle>", ""))),
    # DeepSeek-Coder
    InfillMarkers((("<｜fim▁begin｜>", "prefix"), ("<｜fim▁hole｜>", "suffix"), ("<｜fim▁end｜>", ""))),
    # Codestral, which is shown the suffix first
    InfillMarkers((("[SUFFIX]", "suffix"), ("[PREFIX]", "prefix"))),
)


def render_raw(template: ChatTemplate, raw: RawPrompt, budget: Budget | None = None) -> Rendered:
    """The tokens of the prompt. Its text is "" where the client sent tokens. Raises InvalidRequest for a
    suffix where the vocabulary has no tokens by which to ask for what stands before it, Unwanted and
    ContextOverflow by the budget.
    """
    budget = budget or Budget()
    budget.expect(len(raw.content) + len(raw.suffix))
    if raw.suffix:
        return _infill(template, raw, _markers_of(template.markers), budget)
    if isinstance(raw.content, str):
        encode = template.encode_prompt if raw.special else template.encode
        return Rendered(encode(raw.content, budget), raw.content, "")
    return Rendered(raw.content, "", "")


def _markers_of(markers: Mapping[str, int]) -> InfillMarkers:
    found = next((one for one in INFILL if one.known(markers)), None)
    if found is None:
        raise InvalidRequest(
            "suffix",
            "suffix: this model's vocabulary has no tokens for filling in (such as <|fim_prefix|>), so that "
            "it cannot be asked for a text before another one; send the prompt alone",
        )
    return found


def _infill(template: ChatTemplate, raw: RawPrompt, markers: InfillMarkers, budget: Budget) -> Rendered:
    content = raw.content
    if isinstance(content, str):
        parts = {"prefix": content, "suffix": raw.suffix, "": ""}
        text = "".join(marker + parts[part] for marker, part in markers.order)
        encode = template.encode_prompt if raw.special else template.encode
        return Rendered(encode(text, budget), text, "")
    pieces = {"prefix": content, "suffix": template.encode(raw.suffix, budget), "": ()}
    return Rendered(_joined(template, markers.order, pieces), "", "")


def _joined(
    template: ChatTemplate, order: Sequence[tuple[str, str]], pieces: Mapping[str, tuple[int, ...]]
) -> tuple[int, ...]:
    return tuple(token for marker, part in order for token in (template.markers[marker], *pieces[part]))
