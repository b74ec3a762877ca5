"""Arms as the command line names them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.resolve import BUNDLED, bundled
from proxy.ab.arms import Arm, read_arm, read_arms, split_options
from proxy.ab.processes import command_of
from proxy.conversation.errors import SettingsError, StartError

BUNDLED_MODEL = str(bundled(BUNDLED[2]))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "some:model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a program of each rival's name."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("vllm-mlx", "rapid-mlx", "llama-server", "python"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


def test_an_address_may_name_its_model() -> None:
    assert read_arm("http://h:1/v1/", "A", None) == Arm("http://h:1/v1/", "A", base_url="http://h:1/v1")
    assert read_arm("https://h/v1#m", "A", None).asked_as == "m"


def test_a_bundled_arm_takes_settings() -> None:
    arm = read_arm("bundled:guard=off,kv=q8,bits=full", "A", None)
    assert arm.settings == (("guard", "off"), ("kv_at_rest", "q8"))
    assert arm.model == str(bundled(BUNDLED[0]))
    assert arm.is_ours
    assert arm.takes_upstream
    assert read_arm("bundled", "A", None).model == BUNDLED_MODEL


def test_a_model_directory_takes_settings_whatever_its_name_holds(model: Path) -> None:
    assert read_arm(f"{model}:guard=repair", "A", None).settings == (("guard", "repair"),)
    assert read_arm(str(model), "A", None) == Arm(str(model), "A", model=str(model))


def test_recipes_of_rivals(model: Path, programs: Path) -> None:
    arm = read_arm("mlx-lm", "A", str(model))
    assert arm.command[:4] == (sys.executable, "-m", "mlx_lm", "server")
    assert arm.model == arm.asked_as == str(model)
    for name, program in (
        ("vllm-mlx", "vllm-mlx"),
        ("rapid-mlx", "rapid-mlx"),
        ("llama-cpp", "llama-server"),
    ):
        arm = read_arm(f"{name}:bin={programs},args=--log off", "A", str(model))
        assert arm.command[0] == str(programs / program)
        assert arm.command[-2:] == ("--log", "off")
        assert not arm.takes_upstream


def test_a_command_gets_model_port_and_upstream(tmp_path: Path) -> None:
    arm = read_arm("serve {model} --port={port} --behind {upstream}", "A", None)
    assert arm.takes_upstream
    assert command_of(arm, 81, tmp_path, "http://u") == [
        "serve",
        BUNDLED_MODEL,
        "--port=81",
        "--behind",
        "http://u",
    ]
    assert read_arm("serve --port {port}", "A", "/no/such/model").model == ""


def test_a_fortieth_gets_a_settings_file_of_its_own(tmp_path: Path) -> None:
    arm = read_arm("bundled:guard=off,reask_attempts=1,drift=false", "A", None)
    command = command_of(arm, 81, tmp_path, "")
    assert command[0] == sys.executable
    assert command[2:] == [
        "serve",
        BUNDLED_MODEL,
        "--port",
        "81",
        "--config",
        str(tmp_path / "fortieth.toml"),
    ]
    lines = (tmp_path / "fortieth.toml").read_text().splitlines()
    assert {'guard = "off"', "reask_attempts = 1", "drift = false"} <= set(lines)
    assert command_of(arm, 81, tmp_path, "http://u")[3:5] == ["--upstream", "http://u"]


def test_labels_tell_equal_arms_apart() -> None:
    arms = read_arms(["bundled", "bundled:guard=off", "bundled"], None)
    assert [arm.label for arm in arms] == ["bundled #1", "bundled:guard=off", "bundled #2"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a/b", ("a/b", {})),
        ("a:b", ("a:b", {})),
        ("a:guard=off", ("a", {"guard": "off"})),
        ("a:guard=off,", ("a:guard=off,", {})),
    ],
)
def test_options_follow_the_last_colon(name: str, options: tuple[str, dict[str, str]]) -> None:
    assert split_options(name) == options


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bundled:bits=3", "bits must be full, 8 or 4, got 3"),
        ("bundeld", "no recipe (bundled, mlx-lm"),
        ("/no/such/folder", "is not a directory"),
        ("mlx-lm:guard=off", "has the options bin and args, got guard"),
        ("vllm-mlx:bin=/no/such/folder", "there is no vllm-mlx in /no/such/folder"),
    ],
)
def test_what_is_no_arm_is_named(name: str, said: str) -> None:
    with pytest.raises(StartError) as caught:
        read_arm(name, "A", None)
    assert str(caught.value).startswith("arm ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_no_arm_takes_is_refused(model: Path) -> None:
    assert read_arms(["bundled", "mlx-lm"], str(model))[1].model == str(model)
    with pytest.raises(SettingsError, match="--model is for recipes"):
        read_arms(["bundled", "http://h/v1", "serve --port {port}"], str(model))
