"""One tiny model for all engine tests, loaded once here and served by engine processes too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.cpu.blas import keep_float32
from engine.model import LoadedModel, load_model
from tests.engine.tiny import make_model

keep_float32()
collect_ignore = [] if sys.platform == "linux" else ["test_blas.py"]  # MLX brings its own BLAS elsewhere


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model directory."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def loaded(tiny: Path) -> LoadedModel:
    return load_model(EngineConfig(model=str(tiny)), "none")


@pytest.fixture
def core(loaded: LoadedModel) -> EngineCore:
    """An idle engine in this very process."""
    return EngineCore(loaded, EngineConfig(model=loaded.info.path))
