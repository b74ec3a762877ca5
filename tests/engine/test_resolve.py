"""Finding the model that was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ModelNotFound
from engine.resolve import BUNDLED, MODELS, resolve_model


def test_a_model_directory_is_itself(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_model(str(tiny)) == tiny.resolve()
    monkeypatch.chdir(tiny.parent)
    assert resolve_model(tiny.name) == tiny.resolve()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("/nowhere/at/all", "not a directory"),
        ("./missing", "not a directory"),
        ("~/missing-model-directory", "not a directory"),
        ("a/b/c", "not a directory"),
        ("what is this?", "nor bundled .*fortieth-tiny-4bit"),
        ("", "neither a hub id"),
    ],
)
def test_what_cannot_be_a_model_is_refused_at_once(asked: str, says: str) -> None:
    with pytest.raises(ModelNotFound, match=says):
        resolve_model(asked)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_is_found_by_its_name(name: str) -> None:
    assert resolve_model(name) == MODELS / name


def test_nothing_asked_for_is_the_full_bundled_model() -> None:
    assert resolve_model(None) == MODELS / "fortieth-tiny"


def test_a_directory_comes_before_a_bundled_name(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fortieth-tiny-4bit").symlink_to(tiny, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_model("fortieth-tiny-4bit") == tiny.resolve()


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"no config\.json"):
        resolve_model(str(tmp_path))


def test_a_hub_that_cannot_be_reached_is_said_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A closed port of this machine stands in for the hub."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFound, match=r"fortieth-tiny-4bit.*'owner/name'.*hub"):
        resolve_model("owner/name")
