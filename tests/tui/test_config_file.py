"""The user's settings: what is in the file holds, and what is wrong with it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmrun.errors import ManifestError
from lmrun.tui.config import Config, Look, config_file, read_config


def test_no_file_no_settings(tmp_path: Path) -> None:
    assert read_config(tmp_path / "none.toml") == Config()


def test_what_is_set_holds(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[tui]\ntheme = "lmrun-light"\n[keys]\n"samples.next_wrong" = "ctrl+n"\n')
    assert read_config(file) == Config(Look("lmrun-light"), {"samples.next_wrong": "ctrl+n"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tui", "Expected"),
        ('[tui]\ncolour = "red"', "[tui] has no colour"),
        ("[tui]\ntheme = 1", "[tui] must be a table of texts"),
        ('tui = "dark"', "[tui] must be a table of texts"),
        ('[keys]\n"samples.fly" = "f"', "[keys] has no samples.fly"),
        ('[keys]\n"app.help" = ["h"]', "[keys] must be a table of texts"),
        ("[colours]", "there is no [colours]"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(ManifestError) as error:
        read_config(file)
    assert words in str(error.value)
    assert str(file) in str(error.value)


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LMRUN_CONFIG", str(tmp_path / "mine.toml"))
    assert config_file() == tmp_path / "mine.toml"
    monkeypatch.delenv("LMRUN_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_file() == tmp_path / "lmrun" / "config.toml"
