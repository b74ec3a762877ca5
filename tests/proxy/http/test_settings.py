"""Flags > environment > file > defaults; what is no setting stops the start with a clear message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.conversation.errors import SettingsError
from proxy.conversation.verdict import GiveUp, GuardMode
from proxy.guard.policy import GuardPolicy, LoopLimits, ReaskLimits
from proxy.http.read_settings import foreign_variables, load_settings
from proxy.http.server import engine_config
from proxy.http.settings import Settings
from repair.tools import ToolSet
from repair.turn import Turn
from repair.types import ReasoningDelta, TextDelta, ToolDefinition


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({}, {})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.guard) == ("127.0.0.1", 8040, GuardMode.full)


@pytest.mark.parametrize(
    ("flags", "env", "file", "port"),
    [
        ({}, {}, "port = 1", 1),
        ({}, {"FORTIETH_PORT": "2"}, "port = 1", 2),
        ({"port": 3}, {"FORTIETH_PORT": "2"}, "port = 1", 3),
        ({}, {"FORTIETH_PORT": ""}, "port = 1", 1),
        ({"host": "::1"}, {"FORTIETH_GUARD": "off"}, "port = 1", 1),
    ],
    ids=["file", "environment", "flag", "empty_variable", "mixed"],
)
def test_precedence(tmp_path: Path, flags: dict[str, Any], env: dict[str, str], file: str, port: int) -> None:
    assert load_settings(flags, env, write(tmp_path / "f.toml", file)).port == port


def test_the_file_in_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "fortieth.toml", 'guard = "off"\napi_key = "k"\n')
    monkeypatch.chdir(tmp_path)
    settings = load_settings({}, {})
    assert settings.guard is GuardMode.off
    assert settings.api_key is not None
    assert "'k'" not in repr(settings), "a key must not reach a log"


@pytest.mark.parametrize(
    ("flags", "env", "file", "message"),
    [
        ({}, {}, "prot = 1", "prot in .*f.toml: unknown setting; did you mean port"),
        ({}, {"FORTIETH_GARD": "off"}, "", "FORTIETH_GARD: unknown setting; did you mean guard"),
        ({}, {}, "zzz = 1", "zzz in .*: unknown setting; the settings are .*port"),
        ({}, {"FORTIETH_PORT": "http"}, "", "FORTIETH_PORT: .*integer.*'http'"),
        ({"port": 70000}, {}, "", "--port: .*65535.*70000"),
        ({}, {}, 'guard = "maybe"', "guard in .*f.toml: .*'off'.*'repair'.*'maybe'"),
        ({}, {}, "[port]", "port in .*f.toml: .*integer"),
        ({}, {}, "port = ", "f.toml: this is not valid TOML"),
        ({}, {}, "context_limit = 1", "context_limit in .*: .*2, got 1"),
    ],
)
def test_what_is_no_setting(
    tmp_path: Path, flags: dict[str, Any], env: dict[str, str], file: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(flags, env, write(tmp_path / "f.toml", file))


# what a pod sees beside services called `fortieth` and `fortieth-canary`
KUBERNETES = {
    "FORTIETH_SERVICE_HOST": "10.96.0.7",
    "FORTIETH_SERVICE_PORT": "8040",
    "FORTIETH_SERVICE_PORT_HTTP": "8040",
    "FORTIETH_PORT": "tcp://10.96.0.7:8040",
    "FORTIETH_PORT_8040_TCP": "tcp://10.96.0.7:8040",
    "FORTIETH_PORT_8040_TCP_PROTO": "tcp",
    "FORTIETH_PORT_8040_TCP_PORT": "8040",
    "FORTIETH_PORT_8040_TCP_ADDR": "10.96.0.7",
    "FORTIETH_CANARY_SERVICE_HOST": "10.96.0.8",
    "FORTIETH_CANARY_PORT": "udp://10.96.0.8:53",
}


def test_the_variables_of_a_kubernetes_service_are_no_settings(tmp_path: Path) -> None:
    file = write(tmp_path / "f.toml", "")
    assert load_settings({}, KUBERNETES, file) == Settings()
    assert foreign_variables(KUBERNETES) == sorted(KUBERNETES)
    assert (
        foreign_variables({"FORTIETH_PORT": "8041", "FORTIETH_HOST": "tcp://x", "OTHER_PORT": "tcp://x"})
        == []
    )
    assert load_settings({}, {**KUBERNETES, "FORTIETH_PORT": "8041"}, file).port == 8041


def test_a_wrong_key_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({}, {}, write(tmp_path / "f.toml", 'api_key = [["secret"]]'))
    assert "secret" not in str(caught.value)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml cannot be read"):
        load_settings({}, {}, tmp_path / "nowhere.toml")


def test_what_the_engine_is_told_of_the_cache(tmp_path: Path) -> None:
    file = write(
        tmp_path / "f.toml", 'cache_dir = "/c"\ncache_disk_gb = 0.5\ncache_ram_gb = 1\nkv_at_rest = "q8"\n'
    )
    config = engine_config(load_settings({}, {}, file), tmp_path)
    assert (config.cache_dir, config.cache_disk, config.cache_ram) == ("/c", 2**29, 2**30)
    assert config.kv_at_rest == "q8"
    off = engine_config(load_settings({"cache_dir": "off"}, {}, file), tmp_path)
    assert off.cache_dir is None
    assert engine_config(Settings(), tmp_path).cache_ram is None
    assert engine_config(Settings(deterministic=True), tmp_path).cache_ram == 0, (
        "the same text, to the last bit"
    )


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1


def test_what_the_guard_is_told(tmp_path: Path) -> None:
    file = write(
        tmp_path / "f.toml",
        'give_up = "error"\nreask_attempts = 4\ndrift = false\n[guard_models]\n"owner/model" = "repair"\n',
    )
    env = {
        "FORTIETH_POLLING_TOOLS": "poll_job, wait",
        "FORTIETH_LOOP_STOP": "0",
        "FORTIETH_REASK_SECONDS": "9",
    }
    policy = load_settings({"guard": "observe"}, env, file).guard_policy()
    assert policy == GuardPolicy(
        mode=GuardMode.observe,
        models={"owner/model": GuardMode.repair},
        reask=ReaskLimits(attempts=4, seconds=9),
        loops=LoopLimits(stop=0, polling=frozenset({"poll_job", "wait"})),
        give_up=GiveUp.error,
        drift=None,
    )
    assert Settings().guard_policy() == GuardPolicy()


@pytest.mark.parametrize(
    ("env", "file", "message"),
    [
        ({"FORTIETH_GIVE_UP": "cry"}, "", "FORTIETH_GIVE_UP: .*'text'.*'passthrough'.*'cry'"),
        ({"FORTIETH_REASK_ATTEMPTS": "11"}, "", "FORTIETH_REASK_ATTEMPTS: .*10"),
        ({}, "reask_seconds = 0", "reask_seconds in .*greater than 0"),
        ({}, '[guard_models]\nm = "max"', "guard_models.* in .*'full'"),
    ],
)
def test_what_the_guard_cannot_be_told(tmp_path: Path, env: dict[str, str], file: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings({}, env, write(tmp_path / "f.toml", file))


DECLARED = """
[[format]]
name = "mine"
shape = "tags"
call = "<use tool=\\"{name}\\">\\n"
call_end = "</use>"
parameter = "<p k=\\"{key}\\">"
parameter_end = "</p>\\n"
reasoning = [["<hm>", "</hm>"]]

[[upstream]]
base_url = "http://localhost:9/v1"
format = "mine"

[[upstream]]
base_url = "http://localhost:10/v1"
format = "hermes"
reasoning = [["<hm>", "</hm>"]]
"""


def test_a_declared_format_is_read(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(DECLARED, "utf-8")
    settings = load_settings({}, {}, tmp_path / "own.toml")
    first, second = (target.wire() for target in settings.upstream)
    assert str(first) == "mine"
    assert str(second) == "hermes"
    tools = ToolSet.compile(
        [ToolDefinition("f", "", {"type": "object", "properties": {"k": {"type": "integer"}}})]
    )
    text = '<hm>a thought</hm><use tool="f">\n<p k="k">3</p>\n</use>'
    turn = Turn(tools, first)
    deltas = [delta for char in text for delta in turn.feed(char)]
    assert [(call.name, call.arguments) for call in turn.close("stop").calls] == [("f", '{"k": 3}')]
    assert "".join(one.text for one in deltas if isinstance(one, ReasoningDelta)) == "a thought"
    turn = Turn(tools, second)
    assert (
        "".join(one.text for one in turn.feed("<hm>a thought</hm>yes") if isinstance(one, TextDelta)) == "yes"
    )


def test_thousands_of_declared_formats_are_refused_in_one_line(tmp_path: Path) -> None:
    row = '[[format]]\nname = "own{}"\nshape = "objects"\ncall = "<own{}>"\ncall_end = "</own>"\n'
    (tmp_path / "own.toml").write_text("".join(row.format(at, at) for at in range(3000)), "utf-8")
    with pytest.raises(SettingsError, match=r"at most 64 items") as error:
        load_settings({}, {}, tmp_path / "own.toml")
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('call_end = "</use>"', 'call_end = ""', "is not read back"),
        ("</use>", "x" * 100_000, r"at most 400 characters.{0,500}\Z"),
        ('shape = "tags"', 'shape = "pairs"', "do not fit the shape 'pairs'"),
        ("{name}", "f", "call does not hold {name}"),
        ('name = "mine"', 'name = "hermes"', "'hermes' is the name of a known format"),
        ("parameter =", "parametr =", "unknown setting"),
        ('["<hm>", "</hm>"]', '["<hm>", ""]', "reasoning must be a marker"),
        ('format = "mine"', 'format = "yours"', "no such wire format"),
    ],
)
def test_a_declared_format_that_is_none_is_refused(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    (tmp_path / "own.toml").write_text(DECLARED.replace(before, after, 1), "utf-8")
    with pytest.raises(SettingsError, match=message):
        load_settings({}, {}, tmp_path / "own.toml")
