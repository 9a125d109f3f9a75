"""Commands of lmrun that the app asks for an answer: in a process of their own, which goes when it is not wanted."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import Any

from lmrun.tui.engine import LMRUN

POLL = 0.05
"""Seconds between two looks at whether the command has ended."""


async def ask(arguments: Sequence[str]) -> tuple[dict[str, Any] | None, str]:
    """The JSON that a command prints, None where it prints none, and what it says to people.

    Cancelled, it ends the command before it returns: nothing is left to be waited for.
    """
    with TemporaryFile() as answer, TemporaryFile() as words:
        process = subprocess.Popen(
            [*LMRUN, *arguments, "--json"], stdin=subprocess.DEVNULL, stdout=answer, stderr=words
        )
        try:
            while process.poll() is None:
                await asyncio.sleep(POLL)
        finally:
            process.kill()
            process.wait()
        for file in (answer, words):
            file.seek(0)
        return _object(answer.read()), words.read().decode("utf-8", "replace")


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
