"""The doctor finds what is right and what is wrong, and tells batched from serial texts by the numbers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.template import ChatTemplate
from proxy.cli.divergence import Interval, Tokens, agreeing, compare, mean_interval, random_prompts, wilson
from proxy.cli.doctor import Level, directory, round_trip, versions
from proxy.cli.main import cli
from proxy.http.read_settings import load_settings
from proxy.upstreams.wire import find_wire
from tests.engine.tiny import TEMPLATE, make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny", context=1024)


class Reworded:
    """A model's tokenizer under another chat template."""

    def __init__(self, model: Path, source: str, tmp_path: Path) -> None:
        self.path = Path(shutil.copytree(model, tmp_path / "reworded"))
        (self.path / "chat_template.jinja").write_text(source, "utf-8")


def test_a_healthy_model_and_its_divergence(model: Path) -> None:
    result = CliRunner().invoke(cli, ["doctor", str(model), "--divergence", "--prompts", "9"])
    assert result.exit_code == 0, result.output
    lines = {line.split()[1]: line for line in result.stdout.splitlines()}
    assert {"fortieth", "python", "mlx", "model", "tokenizer", "engine", "blas", "decoding"} <= set(lines)
    assert "tokens/s" in lines["decoding"]
    assert "9 prompts" in lines["divergence"]
    assert "exact match" in lines["divergence"]


@pytest.mark.parametrize("argument", ["/nowhere/at/all", "."], ids=["missing", "no_model"])
def test_a_model_that_is_none(argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["doctor", argument])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].startswith("FAIL  model")


def test_a_directory_without_weights(tmp_path: Path) -> None:
    assert directory(tmp_path).level is Level.fail


def test_versions_are_of_what_is_installed() -> None:
    found = {finding.name: finding for finding in versions()}
    assert found["mlx"].level is Level.ok
    assert found["mlx"].text[0].isdigit()


@pytest.mark.parametrize(
    ("source", "level", "words"),
    [
        (TEMPLATE, Level.ok, "hermes"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", Level.warn, "writes no calls"),
        # teaches one way to call and writes another
        (
            '{# <tool_call>\n{"name": ...} </tool_call> #}{% for m in messages %}{{ m.content }}'
            "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}{% endfor %}{% endfor %}",
            Level.warn,
            "no format reads",
        ),
        ("{# <tool_call>{\"name\": #}{{ raise_exception('no tools') if tools }}", Level.warn, "no tools"),
    ],
    ids=["known", "unknown", "its_own_way", "refused"],
)
def test_the_round_trip(model: Path, tmp_path: Path, source: str, level: Level, words: str) -> None:
    finding = round_trip(ChatTemplate.load(Reworded(model, source, tmp_path).path))
    assert finding.level is level, finding
    assert words in finding.text


PAIRS: list[tuple[Tokens, Tokens, int]] = [
    ((), (), 0),
    ((1, 2, 3), (1, 2, 3), 3),
    ((1, 2, 3), (1, 9, 3), 1),
    ((1, 2, 3), (1, 2), 2),
    ((1,), (2,), 0),
]


@pytest.mark.parametrize(("first", "second", "same"), PAIRS, ids=str)
def test_tokens_before_the_first_difference(first: Tokens, second: Tokens, same: int) -> None:
    assert agreeing(first, second) == agreeing(second, first) == same


def test_a_comparison() -> None:
    found = compare([(1, 2, 3, 4), (5, 6)], [(1, 2, 9, 9), (5, 6)])
    assert (found.prompts, found.exact.share, found.agreement.share, found.first) == (2, 0.5, 0.75, 2)
    same = compare([(1,)] * 50, [(1,)] * 50)
    assert (same.exact.share, same.agreement.share, same.first) == (1.0, 1.0, None)
    assert same.agreement.low < 1, "fifty equal texts do not prove that all are"


# published values of the 95% score interval
WILSON = [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)]


@pytest.mark.parametrize(("hits", "count", "low", "high"), WILSON)
def test_the_interval_of_a_share(hits: int, count: int, low: float, high: float) -> None:
    found = wilson(hits, count)
    assert found.low == pytest.approx(low, abs=1e-4)
    assert found.high == pytest.approx(high, abs=1e-4)


def test_the_interval_of_a_mean() -> None:
    assert mean_interval([0.5, 0.5]) == Interval(0.5, 0.5, 0.5)
    found = mean_interval([1.0, 0.0, 1.0, 1.0])
    assert found.share == 0.75
    assert found.low == pytest.approx(0.75 - 1.96 * 0.25, abs=1e-9)
    assert found.high == 1.0


def test_prompts_are_random_and_the_same_again(model: Path) -> None:
    template: Any = ChatTemplate.load(model)
    first = random_prompts(template, 261, 20, seed=1)
    assert first == random_prompts(template, 261, 20, seed=1) != random_prompts(template, 261, 20, seed=2)
    assert len(set(first)) == 20
    # the frame's own control tokens and no others
    assert all(prompt.count(257) == 2 and prompt.count(258) == 1 for prompt in first)


OWN = TEMPLATE.replace("<tool_call>", "<<do>>").replace("</tool_call>", "<</do>>")


def test_a_format_of_its_own_is_derived_and_printed(model: Path, tmp_path: Path) -> None:
    path = Reworded(model, OWN, tmp_path).path
    finding = round_trip(ChatTemplate.load(path))
    assert finding.level is Level.ok
    assert "derived" in finding.text
    assert "<<do>>" in finding.text
    result = CliRunner().invoke(cli, ["doctor", str(path), "--format"])
    assert result.exit_code == 0, result.output
    (tmp_path / "own.toml").write_text(result.stdout, "utf-8")
    (declared,) = load_settings({}, {}, tmp_path / "own.toml").format
    assert find_wire(ChatTemplate.load(path), (declared.row(),)).how == "declared"
    assert CliRunner().invoke(cli, ["doctor", str(model), "--format"]).exit_code == 1
