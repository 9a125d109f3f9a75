"""Models and tokenizers shared by the tests of the backends; no network, no downloads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmrun.backends.base import ModelSpec
from lmrun.backends.hf import HfBackend
from lmrun.backends.tokenize import Tokenizer
from tests.backends import make

Load = Callable[..., HfBackend]


@pytest.fixture(scope="session", autouse=True)
def _hash_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("LMRUN_CACHE_DIR")
    os.environ["LMRUN_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["LMRUN_CACHE_DIR"]
    else:
        os.environ["LMRUN_CACHE_DIR"] = before


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Tokenizer]:
    """Every kind of tokenizer, by name."""
    pytest.importorskip("transformers")
    return {kind: make.tokenizer(kind, make.CHAT_TEMPLATE) for kind in make.TOKENIZERS}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes the folder of a small model, once for the same arguments."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    made: dict[Any, Path] = {}

    def folder(architecture: str = "llama", kind: str = "bytes-bos", **options: Any) -> Path:
        key = (architecture, kind, *sorted(options.items()))
        if key not in made:
            made[key] = make.save(tmp_path_factory.mktemp("model"), architecture, kind, **options)
        return made[key]

    return folder


@pytest.fixture(scope="session")
def load(folders: Callable[..., Path]) -> Load:
    """Loads a small model behind the ``hf`` backend, once for the same arguments."""
    pytest.importorskip("torch")
    loaded: dict[Any, HfBackend] = {}

    def backend(architecture: str = "llama", kind: str = "bytes-bos", **options: Any) -> HfBackend:
        saved = {k: options.pop(k) for k in ("positions", "chat_template") if k in options}
        key = (architecture, kind, *sorted(saved.items()), *sorted(options.items()))
        if key not in loaded:
            made = HfBackend(
                ModelSpec("m", "hf", str(folders(architecture, kind, **saved)), {"device": "cpu", **options})
            )
            made.load()
            loaded[key] = made
        return loaded[key]

    return backend
