"""Folders of the user's that lmrun writes to by itself."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Folder for what lmrun can compute again: ``$LMRUN_CACHE_DIR``, else ``~/.cache/lmrun``."""
    configured = os.environ.get("LMRUN_CACHE_DIR")
    return Path(configured) if configured else Path("~/.cache/lmrun").expanduser()
