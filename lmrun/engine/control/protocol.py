"""What goes over the control socket: one JSON object per line in both directions; see ``docs/control.md``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lmrun.engine.progress import Snapshot

LONGEST_REQUEST = 64 * 1024
"""Bytes of a line that a client may send."""
_LONGEST_ADDRESS = 100
"""Bytes of a socket's path; the least that systems allow is 104, with the zero at its end."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a client asks of the engine."""

    do: str
    """``snapshot``, ``pause``, ``resume``, ``stop``, ``faster``, ``slower``, ``retry_errors`` or ``skip_job``."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """``model`` and ``label`` of the job to be skipped."""
    who: str = ""
    """The process that asks, as far as it can be told; for the log."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a command."""

    ok: bool
    words: str
    """For a person to read."""


class Garbage(ValueError):  # noqa: N818 - the state of a line
    """What came is no request."""


def read_command(line: bytes, who: str) -> Command:
    """A line that a client sent. Raises :class:`Garbage`."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise Garbage("a request is a JSON object on one line") from None
    if not isinstance(request, dict) or not isinstance(request.get("do"), str):
        raise Garbage('a request is a JSON object with "do"')
    arguments = {name: value for name, value in request.items() if name != "do" and isinstance(value, str)}
    return Command(request["do"], arguments, who)


def write_line(values: Mapping[str, Any]) -> bytes:
    """A line for the other side."""
    return json.dumps(values, default=str).encode() + b"\n"


def write_snapshot(snapshot: Snapshot) -> bytes:
    """The answer to ``snapshot``."""
    return write_line({"ok": True, "snapshot": _snapshots().dump_python(snapshot)})


def read_snapshot(values: Any) -> Snapshot:
    """The snapshot of an answer; fields that this version does not know are left out.

    Raises:
        ValueError: the engine's version is another one, and this one cannot read what it says.
    """
    snapshot: Snapshot = _snapshots().validate_python(values)
    return snapshot


@cache
def _snapshots() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Snapshot)


@contextmanager
def address(socket: Path) -> Iterator[str]:
    """A name for a socket that is short enough to be bound or connected to, whatever the length of its path."""
    if len(os.fsencode(socket)) <= _LONGEST_ADDRESS:
        yield str(socket)
    elif sys.platform == "linux":
        folder = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{folder}/{socket.name}"
        finally:
            os.close(folder)
    else:
        yield os.path.relpath(socket)
