"""The user's editor, in place of the app until it is closed."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported


def edit(app: App[Any], file: Path) -> str:
    """Open a file in ``$VISUAL``, ``$EDITOR`` or vi; returns what went wrong."""
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        command = shlex.split(named)
        with app.suspend():
            code = subprocess.run([*command, str(file)], check=False).returncode
    except SuspendNotSupported:
        return "no editor can be opened here"
    except (OSError, ValueError) as error:
        return f"{named}: {error}"
    return f"{named} ended with exit code {code}" if code else ""
