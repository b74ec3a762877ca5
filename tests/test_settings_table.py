"""What a setting is stands at its field; help, docs and errors say the same."""

from __future__ import annotations

import inspect

import pytest
import typer
from typer.testing import CliRunner

from proxy.cli.main import cli, serve
from proxy.conversation.errors import SettingsError
from proxy.http.read_settings import load_settings
from proxy.http.settings import Settings
from proxy.http.told import sentence, told
from tests.settings_table import table, written


def test_the_table_in_the_docs_is_what_stands_at_the_fields() -> None:
    assert written() == table(), "run python -m tests.settings_table"


def test_every_flag_of_serve_is_a_setting_and_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [name for name in inspect.signature(serve).parameters if name != "config"]
    assert set(flags) <= set(Settings.model_fields)
    monkeypatch.setenv("COLUMNS", "400")
    shown = " ".join(CliRunner().invoke(cli, ["serve", "--help"]).stdout.split())
    assert [name for name in flags if sentence(Settings.model_fields[name]) not in shown] == []
    command = typer.main.get_command(cli)
    assert isinstance(command, typer.core.TyperGroup)
    assert [one.name for one in command.commands["serve"].params if one.name not in (*flags, "config")] == []


def test_a_wrong_value_is_told_with_what_it_should_be() -> None:
    with pytest.raises(SettingsError, match=r"^--port: .*, got 'x' \(port to listen on, 0 for a free one\)$"):
        load_settings({"port": "x"}, {})


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_is_told_in_one_piece(name: str) -> None:
    one = told(Settings.model_fields[name])
    assert one.help == one.help.strip()
    assert not one.help.endswith(".")
    assert not one.page or one.page.partition("#")[0].endswith(".md")
