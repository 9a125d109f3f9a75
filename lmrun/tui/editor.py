"""The user's editor, in which a text is looked at."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported

from lmrun.errors import BackendError, LmrunError


def look_in_editor(app: App[None], name: str, text: str) -> None:
    """Show a text in ``$VISUAL`` or ``$EDITOR``; the app waits. The file is read-only and gone afterwards.

    Raises:
        LmrunError: there is no such program, or no terminal for it.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="lmrun-") as folder:
        file = Path(folder) / name
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
        file.chmod(0o400)
        try:
            with app.suspend():
                subprocess.run([*shlex.split(editor), str(file)], check=False)
        except SuspendNotSupported as error:
            raise _failed("no editor can be opened here: this is no terminal of its own") from error
        except (OSError, ValueError) as error:
            raise _failed(f"{editor}: {error}") from error


def _failed(words: str) -> LmrunError:
    return BackendError(words, hint="EDITOR names the program")


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
