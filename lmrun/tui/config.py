"""What users set for themselves: ``[tui] theme`` and ``[keys]`` in ``config.toml`` of lmrun's configuration folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

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


class Look(BaseModel):
    """``[tui]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    theme: str = "lmrun-dark"


class Config(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tui: Look = Look()
    keys: dict[str, str] = {}
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
        config = Config.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Config()
    except (tomllib.TOMLDecodeError, ValidationError, OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{file}: {error}", hint="correct or delete the file") from None
    if unknown := sorted(config.keys.keys() - KNOWN):
        raise ManifestError(
            f"{file}: [keys] has no action {', '.join(unknown)}",
            hint="`?` in `lmrun tui` lists actions with their names",
        )
    return config
