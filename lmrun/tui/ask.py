"""Commands of lmrun that the app asks for an answer: in a process of their own, which goes when it is not wanted."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from typing import Any

from lmrun.tui.engine import LMRUN


async def ask(arguments: Sequence[str]) -> tuple[dict[str, Any] | None, str]:
    """The JSON that a command prints, None where it prints none, and what it says to people.

    Cancelled, it ends the command.
    """
    process = await asyncio.create_subprocess_exec(
        *LMRUN, *arguments, "--json", stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        answer, words = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.communicate()
        raise
    text = words.decode("utf-8", "replace")
    try:
        found = json.loads(answer)
    except ValueError:
        return None, text
    return (found if isinstance(found, dict) else None), text
