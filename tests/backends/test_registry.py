"""Names to classes, and what may be imported on the way."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from lmrun.backends import registry
from lmrun.backends.hf import hf_backend
from lmrun.errors import BackendError
from lmrun.testing.scripted import scripted_backend


def test_the_backends_of_a_source_tree_are_found_without_installation() -> None:
    assert {"hf", "scripted"} <= set(registry.backend_names())
    assert registry.backend_class("hf") is hf_backend
    assert registry.backend_class("scripted") is scripted_backend


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BackendError) as caught:
        registry.backend_class("scriptd")
    assert caught.value.hint == "did you mean 'scripted'?"


def test_missing_packages_are_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match="needs torch and transformers") as caught:
        registry.backend_class("hf")
    assert caught.value.hint == 'pip install "lmrun[hf]"'


def test_a_plug_in_is_listed_without_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = EntryPoint("mine", "no_such_module:Backend", registry.GROUP)
    monkeypatch.setattr(registry, "_entry_points", lambda: (plugin,))
    assert "mine" in registry.backend_names()
    with pytest.raises(BackendError, match="no_such_module"):
        registry.backend_class("mine")


def test_nothing_heavy_is_imported_before_a_model_is_loaded() -> None:
    code = (
        "import sys, lmrun.backends.hf, lmrun.backends.registry, lmrun.backends.fingerprint, lmrun.backends.tokenize\n"
        "import lmrun.testing.scripted, lmrun.backends.hf.loading, lmrun.backends.hf.scoring\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'huggingface_hub', 'numpy', 'jinja2'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr == ""
