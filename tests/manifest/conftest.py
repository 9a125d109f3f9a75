from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lmrun.errors import ManifestError, Problem
from lmrun.manifest import Manifest, load_manifest

GOOD = '[[models]]\nbackend = "hf"\nmodel = "bundled:demo"\n[[tasks]]\nname = "demo"\n'

Write = Callable[..., Path]
Load = Callable[..., Manifest]
Problems = Callable[..., tuple[Problem, ...]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Put a manifest into the test's folder."""

    def put(text: str, name: str = "m.toml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return put


@pytest.fixture
def load(write: Write) -> Load:
    """Load a manifest given as text, with overrides."""

    def read(text: str, *overrides: str) -> Manifest:
        return load_manifest(write(text), overrides)

    return read


@pytest.fixture
def problems(load: Load) -> Problems:
    """What is wrong with a manifest given as text, with overrides."""

    def find(text: str, *overrides: str) -> tuple[Problem, ...]:
        with pytest.raises(ManifestError) as caught:
            load(text, *overrides)
        return caught.value.problems

    return find
