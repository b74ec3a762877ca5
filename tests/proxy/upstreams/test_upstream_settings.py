"""--upstream and [[upstream]]: what they may hold, and messages that say what is wrong and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.conversation.errors import SettingsError
from proxy.http.read_settings import load_settings
from proxy.upstreams.remote.target import Target

URL = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("flags", "env", "file", "targets"),
    [
        ({"upstream": [URL]}, {}, "", [Target(base_url=URL)]),
        ({"upstream": [URL + "/", "openai/x"]}, {}, "", [Target(base_url=URL), Target(model="openai/x")]),
        ({}, {"FORTIETH_UPSTREAM": f"{URL}, openai/x"}, "", [Target(base_url=URL), Target(model="openai/x")]),
        ({}, {}, f'upstream = "{URL}"', [Target(base_url=URL)]),
        (
            {},
            {},
            f'[[upstream]]\nbase_url = "{URL}"\nmodel = "q"\nname = "coder"\nformat = "hermes"\n'
            'api_key_env = "K"\nweight = 3\ntimeout_s = 9\nfallbacks = ["small"]\n'
            '[[upstream]]\nmodel = "openai/s"\nname = "small"\n',
            [
                Target(
                    base_url=URL,
                    model="q",
                    name="coder",
                    format="hermes",
                    api_key_env="K",
                    weight=3,
                    timeout_s=9,
                    fallbacks=("small",),
                ),
                Target(model="openai/s", name="small"),
            ],
        ),
        ({}, {}, "", []),
    ],
    ids=["flag", "flags", "variable", "file", "tables", "none"],
)
def test_what_an_upstream_may_be(
    tmp_path: Path, flags: dict[str, Any], env: dict[str, str], file: str, targets: list[Target]
) -> None:
    path = tmp_path / "f.toml"
    path.write_text(file, "utf-8")
    assert list(load_settings(flags, env, path).upstream) == targets


@pytest.mark.parametrize(
    ("flags", "env", "file", "message"),
    [
        (
            {},
            {},
            '[[upstream]]\nbase_url = "http://h/v1"\nformt = "x"',
            r"upstream\[0\].formt in .*: unknown",
        ),
        ({}, {}, '[[upstream]]\nname = "x"', r"upstream\[0\] in .*: .*a base_url or a model"),
        ({}, {}, '[[upstream]]\nmodel = "x"\nformat = "y"', r"upstream\[0\].format in .*: no such .*'y'"),
        ({}, {}, '[[upstream]]\nmodel = "x"\nweight = 0', r"upstream\[0\].weight in .*greater.*got 0"),
        ({}, {}, "upstream = 3", r"upstream in .*: .*got 3"),
        ({"upstream": ["ftp://x"]}, {}, "", r"--upstream\[0\].base_url: base_url must look like"),
        ({"upstream": ["http://me:pw@h/v1"]}, {}, "", r"--upstream.*: keys are read .* got a value$"),
        ({}, {"FORTIETH_UPSTREAM": "http://"}, "", r"FORTIETH_UPSTREAM.*: base_url must look like"),
        ({}, {}, 'upstream_api_key = "k"', r"upstream_api_key in .*: this key is read from the env"),
        ({}, {}, 'upstream_routing = "best"', r"upstream_routing in .*simple-shuffle.*'best'"),
    ],
    ids=lambda value: None,
)
def test_what_it_may_not(
    tmp_path: Path, flags: dict[str, Any], env: dict[str, str], file: str, message: str
) -> None:
    path = tmp_path / "f.toml"
    path.write_text(file, "utf-8")
    with pytest.raises(SettingsError, match=message):
        load_settings(flags, env, path)
