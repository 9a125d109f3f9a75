"""The side of those who watch and steer."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from threading import Lock
from typing import Any

from lmrun.engine.control.protocol import Reply, address, read_snapshot, write_line
from lmrun.engine.progress import Snapshot
from lmrun.store.runs import RunDirectory

PATIENCE = 5.0
"""Seconds for an answer; the engine's side answers at once, or says that it will take longer."""


class ControlClient:
    """Talks to the engine of a run. Connects when it is needed, and again when an engine has gone and another come."""

    def __init__(self, run: RunDirectory, patience: float = PATIENCE) -> None:
        self._run, self._patience = run, patience
        self._socket: socket.socket | None = None
        self._pending = b""
        self._lock = Lock()  # an answer belongs to the request before it

    def snapshot(self) -> Snapshot | None:
        """The run now; None where no engine answers."""
        try:
            answer = self._ask({"do": "snapshot"})
            return None if answer is None else read_snapshot(answer.get("snapshot"))
        except (TimeoutError, ValueError):
            return None

    def send(self, command: str, **arguments: str) -> Reply:
        """Give a command; see :class:`~lmrun.engine.control.protocol.Command`."""
        try:
            answer = self._ask({**arguments, "do": command})
        except TimeoutError:
            return Reply(False, "the engine does not answer; it may still do this when it goes on")
        if answer is None:
            return Reply(False, "no engine answers at the socket of this run")
        return Reply(bool(answer.get("ok")), str(answer.get("words", "")))

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._leave()

    def _ask(self, request: dict[str, str]) -> dict[str, Any] | None:
        """The answer; None where nobody listens. Raises :class:`TimeoutError`: a command must not be given twice."""
        with self._lock:
            kept = self._socket is not None
            answer = self._exchange(request)
            if answer is None and kept:  # the engine may have ended the connection, or be another one now
                answer = self._exchange(request)
            return answer

    def _exchange(self, request: dict[str, str]) -> dict[str, Any] | None:
        try:
            answer = json.loads(self._line(write_line(request)))
        except TimeoutError:
            self._leave()
            raise
        except (OSError, ValueError):
            self._leave()
            return None
        return answer if isinstance(answer, dict) else None

    def _line(self, request: bytes) -> bytes:
        connection = self._connected()
        connection.sendall(request)
        parts = [self._pending]
        while b"\n" not in parts[-1]:
            if not (part := connection.recv(2**18)):
                raise ConnectionResetError
            parts.append(part)
        line, _, self._pending = b"".join(parts).partition(b"\n")
        return line

    def _connected(self) -> socket.socket:
        if self._socket is None:
            if not hasattr(socket, "AF_UNIX"):
                raise OSError("no unix sockets on this system")
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(self._patience)
            try:
                with address(self._run.control) as name:
                    connection.connect(name)
            except OSError:
                connection.close()
                raise
            self._socket = connection
        return self._socket

    def _leave(self) -> None:
        self._pending = b""
        if self._socket:
            with suppress(OSError):
                self._socket.close()
            self._socket = None
