"""A server says that it is ready when it can answer: what keeps it from that ends the start with one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.template import ChatTemplate
from proxy.cli.doctor import Level, directory, tokenizer
from proxy.http.first_answer import template_fault, unapplied_adapters
from tests.engine.tiny import make_model
from tests.proxy.http.test_starts import base_url, ended, started

SAYS = "{% for m in messages %}{{ m.content }}\n{% endfor %}"


def with_template(source: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        about = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps({**about, "chat_template": source}))

    return change


def without_vocabulary(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def without_tokenizer(folder: Path) -> None:
    """Only the template is left: transformers makes up a tokenizer that knows no word."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "chat_template.jinja").write_text(SAYS)


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no_vocabulary": (without_vocabulary, "backend tokenizer"),
    "no_tokenizer": (without_tokenizer, "the tokenizer does not give back the text"),
    "cut_template": (
        with_template("{% for m in messages %}{{ m.content }}"),
        "the model's chat template refused",
    ),
    "template_that_divides_by_zero": (with_template("{{ 1 / 0 }}" + SAYS), "division by zero"),
    "template_that_calls_itself": (
        with_template("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}" + SAYS),
        "refused the conversation: maximum recursion depth",
    ),
    "template_of_other_tools": (
        with_template("{{ tools[0].no.such }}" + SAYS),
        "no prompt with tools can be",
    ),
    "template_that_refuses_tools": (
        with_template("{% if tools %}{{ raise_exception('no tools') }}{% endif %}" + SAYS),
        "chat template refused the conversation: no tools",
    ),
    "template_that_says_nothing": (with_template("{# nothing #}"), "leaves out what the user says"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny", context=1024)


def test_a_sound_model_has_no_fault(model: Path) -> None:
    template = ChatTemplate.load(model)
    assert template_fault(template) == ""
    assert tokenizer(template).level is Level.ok


@pytest.mark.parametrize(("change", "words"), FAULTS.values(), ids=FAULTS)
def test_what_keeps_it_from_answering_is_named(
    model: Path, tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    change(folder)
    done = subprocess.run(
        [sys.executable, "-m", "fortieth", "serve", "--port", "0", "--cache-dir", "off", str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("fortieth: ")
    assert words in line


def test_the_doctor_says_the_same(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    with_template("{# nothing #}")(folder)
    template = ChatTemplate.load(folder)
    finding = tokenizer(template)
    assert (finding.level, finding.text) == (Level.fail, template_fault(template))


def test_an_adapter_is_named(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    assert unapplied_adapters(folder) == ()
    (folder / "adapter_config.json").write_text("{}")
    assert directory(folder).level is Level.warn
    with started(str(folder)) as process:
        base_url(process)
        (line,) = ended(process)
    assert "adapter_config.json is not applied" in line
