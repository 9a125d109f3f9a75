"""What users set for themselves: ``[tui] theme`` and ``[keys]`` in ``config.toml`` of lmrun's configuration folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lmrun.errors import ManifestError
from lmrun.tui.actions import APP, PAGES, TABLE, identifier

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KNOWN = frozenset(
    identifier(page, action) for page, table in {"app": APP, "table": TABLE, **PAGES}.items() for action in table
)
"""Identifiers of all actions."""


@dataclass(frozen=True, slots=True)
class Look:
    """``[tui]``."""

    theme: str = "lmrun-dark"


@dataclass(frozen=True, slots=True)
class Config:
    """The file."""

    tui: Look = Look()
    keys: Mapping[str, str] = field(default_factory=dict)
    """By identifier of an action: Textual's names of keys, separated by commas."""


def config_file() -> Path:
    """``$LMRUN_CONFIG``, or ``lmrun/config.toml`` below ``$XDG_CONFIG_HOME`` or ``~/.config``."""
    if named := os.environ.get("LMRUN_CONFIG"):
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "lmrun" / "config.toml"


def read_config(file: Path | None = None) -> Config:
    """The user's settings; those of lmrun where there is no file.

    Raises:
        ManifestError: it is no TOML, or says something unknown.
    """
    file = file or config_file()
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Config()
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{file}: {error}", hint="correct or delete the file") from None
    known = {"tui": frozenset({"theme"}), "keys": KNOWN}
    if unknown := sorted(found.keys() - known):
        raise ManifestError(f"{file}: there is no [{unknown[0]}]", hint="there are [tui] and [keys]")
    tui, keys = (_texts(file, name, found.get(name, {}), known[name]) for name in ("tui", "keys"))
    return Config(Look(**tui), keys)


def _texts(file: Path, name: str, found: object, known: frozenset[str]) -> dict[str, str]:
    """A table of texts with known names."""
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ManifestError(f"{file}: [{name}] must be a table of texts", hint="correct or delete the file")
    if unknown := ", ".join(sorted(found.keys() - known)):
        hint = "`?` in `lmrun tui` lists actions with their names" if name == "keys" else f"there is {', '.join(known)}"
        raise ManifestError(f"{file}: [{name}] has no {unknown}", hint=hint)
    return found
