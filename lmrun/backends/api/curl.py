"""A request to a server as a curl command that can be pasted into any POSIX shell."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

_VARIABLE = re.compile(r"\0\{(\w+)\}")


def variable(name: str) -> str:
    """What stands in a header for the value of an environment variable; NUL is in no header."""
    return f"\0{{{name}}}"


def command(url: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> str:
    """The command. Everything is quoted; only variables are left to the shell."""
    every = {"Content-Type": "application/json", **headers}
    lines = [f"curl {shlex.quote(url)}", *(f"  -H {_quoted(f'{name}: {value}')}" for name, value in every.items())]
    # In ASCII: half a surrogate pair and control characters then go through every terminal and clipboard.
    lines.append(f"  -d {shlex.quote(json.dumps(body))}")
    return " \\\n".join(lines)


def _quoted(header: str) -> str:
    """A header in quotes, in which the shell puts the values of variables, and nothing else."""
    pieces = _VARIABLE.split(header)
    if len(pieces) == 1:
        return shlex.quote(header)
    return "".join(f'"${piece}"' if place % 2 else shlex.quote(piece) for place, piece in enumerate(pieces) if piece)
