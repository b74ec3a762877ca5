"""What a run shows, in words: each arm beside the first one, measure by measure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.ab.measured import Results
from proxy.ab.measures import MEASURES, ArmSums, Measure, Scale, group, sum_up
from proxy.ab.statistics import LEVEL, PairedDifference, corrected_level, paired_difference, seeds_needed

#: two processes of the same server differ by so much in their times; less is no difference between servers
TIME_MARGIN = 1.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of two arms at one number of conversations at a time.

    difference: B - A; of times the difference of their logarithms, whose exponential is the ratio B / A.
    shown: whether the run shows a difference.
    seeds: how many conversations would show one of this size; None where that cannot be said.
    words: the verdict as a sentence.
    """

    measure: Measure
    first: str
    second: str
    streams: int
    difference: PairedDifference
    shown: bool
    seeds: int | None
    words: str

    @property
    def interval(self) -> tuple[float, float]:
        """Of the difference; of times, of the ratio."""
        low, high = self.difference.low, self.difference.high
        return (math.exp(low), math.exp(high)) if self.measure.scale is Scale.time else (low, high)

    @property
    def size(self) -> float:
        mean = self.difference.mean
        return math.exp(mean) if self.measure.scale is Scale.time else mean


def compare(results: Results, arms: Sequence[str], seed: int = 0) -> tuple[Comparison, ...]:
    """Every arm beside the first one; the same results give the same verdicts. arms: labels, in order.

    Broken turns are what a run is for: half of the level is theirs, and the other measures share the rest.
    """
    found: list[tuple[Measure, str, int, PairedDifference]] = []
    for streams in results.levels:
        for other in arms[1:]:
            for measure in MEASURES:
                differences = _differences(results, measure, arms[0], other, streams)
                if differences:
                    found.append((measure, other, streams, paired_difference(differences, seed)))
    levels = {
        primary: corrected_level(
            [one.least_p for measure, *_, one in found if measure.primary is primary], LEVEL / 2
        )
        for primary in (True, False)
    }
    sums = {(arm, n): sum_up(results, arm, n) for arm in arms for n in results.levels}
    return tuple(
        _judged(measure, sums[arms[0], streams], sums[other, streams], difference, levels[measure.primary])
        for measure, other, streams, difference in found
    )


def _differences(results: Results, measure: Measure, first: str, second: str, streams: int) -> list[float]:
    """Of the conversations that both arms played. Conversations that ran at the same time share the noise of
    the machine, so that their times are one pair.
    """
    figures: list[dict[str, float]] = []
    for arm in (first, second):
        turns = group(results.turns_of(arm, streams))
        known = {
            item.item: measure.of(item, turns.get(item.item, ())) for item in results.items_of(arm, streams)
        }
        figures.append({key: value for key, value in known.items() if value is not None})
    blocks: dict[object, list[float]] = defaultdict(list)
    rounds = {item.item: item.round for item in results.items_of(second, streams)}
    for key in figures[0]:
        if key not in figures[1]:
            continue
        before, after = figures[0][key], figures[1][key]
        if measure.scale is not Scale.time:
            blocks[key].append(after - before)
        elif before > 0 and after > 0:
            blocks[rounds[key]].append(math.log(after / before))
    return [sum(held) / len(held) for held in blocks.values()]


def _judged(
    measure: Measure, first: ArmSums, second: ArmSums, difference: PairedDifference, level: float
) -> Comparison:
    margin = math.log(TIME_MARGIN) if measure.scale is Scale.time else 0.0
    apart = difference.low > margin or difference.high < -margin
    shown = apart and difference.p <= level
    seeds = None if shown else seeds_needed(difference, level)
    if seeds is not None and measure.scale is Scale.time and abs(difference.mean) <= margin:
        seeds = None
    words = _words(measure, first, second, difference, shown, seeds)
    return Comparison(measure, first.arm, second.arm, first.streams, difference, shown, seeds, words)


def _words(
    measure: Measure,
    first: ArmSums,
    second: ArmSums,
    difference: PairedDifference,
    shown: bool,
    seeds: int | None,
) -> str:
    figures = f"{told(measure, second)} against {told(measure, first)}"
    if shown:
        said = measure.more if difference.mean > 0 else measure.fewer
        return f"{second.arm} {said} than {first.arm}: {figures}."
    sentence = f"{measure.name[0].upper()}{measure.name[1:]}: no difference shown ({figures})."
    if seeds is None:
        return sentence
    unit = "conversations" if measure.scale is not Scale.time or first.streams == 1 else "rounds"
    return f"{sentence} About {seeds} {unit} would show a difference of this size."


def told(measure: Measure, sums: ArmSums) -> str:
    """An arm's figure as people read it."""
    figure = sums.figures[measure.name]
    if figure is None:
        return "not measured"
    if measure.scale is Scale.time:
        return f"{figure * 1000:.0f} ms" if figure >= 0.01 else f"{figure * 1000:.2f} ms"
    if measure.scale is Scale.turns:
        return f"{figure:.1f}"
    hits, total = sums.totals[measure.name]
    return f"{hits / total:.1%}" if total > 99_999 else f"{hits} of {total}"
