"""The engine's side: a thread that answers any number of clients, none of whom can hold it or another one up."""

from __future__ import annotations

import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import TypeVar

from lmrun.engine.control.protocol import (
    LONGEST_REQUEST,
    Garbage,
    Reply,
    address,
    read_command,
    write_line,
    write_snapshot,
)
from lmrun.engine.progress import Tracker
from lmrun.engine.steering import Asked, Steering
from lmrun.store.log import RunLog
from lmrun.store.runs import RunDirectory

T = TypeVar("T")
MOST_CLIENTS = 32
"""At once; one more takes the place of that which has been silent for longest."""
PATIENCE = 1.5
"""Seconds after which a client is told that its command has to wait."""


@contextmanager
def control(run: RunDirectory, steering: Steering, tracker: Tracker, log: RunLog) -> Iterator[None]:
    """Serve the run's control socket while the block runs. Where none can be made, the run goes on without."""
    try:
        server = ControlServer(run.control, steering, tracker)
    except OSError as error:
        log.write("warning", "no control socket", error=str(error))
        yield
        return
    try:
        yield
    finally:
        steering.close()
        server.close()


class ControlServer:
    """Serves a socket until it is closed. Raises :class:`OSError` where there cannot be one."""

    def __init__(self, path: Path, steering: Steering, tracker: Tracker) -> None:
        self._path, self._steering, self._tracker = path, steering, tracker
        self._listener = _listening(path)
        self._ours = path.stat().st_ino
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._clients: dict[int, _Client] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._open = True
        self._thread = Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer what can be answered, and remove the socket."""
        self._open = False
        self.wake()
        self._thread.join(timeout=5)
        with suppress(OSError):
            if self._path.stat().st_ino == self._ours:
                self._path.unlink()

    def wake(self) -> None:
        """There is something to do: an answer has come, or the end."""
        with suppress(OSError):  # full: it will wake up anyway
            self._wake.send(b"!")

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while self._open:
                self._turn()
            self._answer_waiting(late=True)
        finally:
            for client in list(self._clients.values()):
                self._drop(client)
            for each in (self._listener, self._wake, self._woken):
                each.close()
            self._selector.close()

    def _turn(self) -> None:
        waiting = any(client.asked for client in self._clients.values())
        for key, events in self._selector.select(0.1 if waiting else None):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._woken:
                with suppress(OSError):
                    self._woken.recv(4096)
            elif client := self._clients.get(key.fd):
                self._guarded(client, self._attend, events)
        self._answer_waiting(late=False)

    def _guarded(self, client: _Client, do: Callable[[_Client, T], None], what: T) -> None:
        """Whatever is wrong with a client ends its connection and nothing else."""
        try:
            do(client, what)
            self._heed(client)
        except Exception:  # noqa: BLE001
            self._drop(client)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        if len(self._clients) >= MOST_CLIENTS:
            self._drop(min(self._clients.values(), key=lambda client: client.heard))
        client = _Client(connection, _who(connection))
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ)

    def _attend(self, client: _Client, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            client.write()
        if events & selectors.EVENT_READ:
            client.read()
        self._next(client)

    def _next(self, client: _Client) -> None:
        """Take the next request, unless the client has an answer to read first."""
        while client.idle and (line := client.line()) is not None:
            try:
                command = read_command(line, client.who)
            except Garbage as error:
                client.answer(write_line({"ok": False, "words": str(error)}))
                continue
            if command.do == "snapshot":
                client.answer(write_snapshot(self._tracker.snapshot()))
            else:
                client.asked = self._steering.ask(command, self.wake)
                client.since = time.monotonic()

    def _answer_waiting(self, *, late: bool) -> None:
        for client in list(self._clients.values()):
            if client.asked is None:
                continue
            reply = client.asked.reply
            if reply is None and (late or time.monotonic() - client.since > PATIENCE):
                reply = self._steering.later()
            if reply:
                self._guarded(client, self._reply, reply)

    def _reply(self, client: _Client, reply: Reply) -> None:
        client.asked = None
        client.answer(write_line({"ok": reply.ok, "words": reply.words}))
        self._next(client)

    def _heed(self, client: _Client) -> None:
        """Listen for what the client may do next."""
        if client.gone:
            self._drop(client)
            return
        events = selectors.EVENT_WRITE if client.outgoing else selectors.EVENT_READ
        self._selector.modify(client.connection, events)

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.connection.fileno(), None)
        with suppress(KeyError, ValueError, OSError):
            self._selector.unregister(client.connection)
        client.connection.close()


@dataclass(slots=True, eq=False)
class _Client:
    connection: socket.socket
    who: str
    incoming: bytearray = field(default_factory=bytearray)
    outgoing: bytes = b""
    asked: Asked | None = None
    since: float = 0.0
    heard: float = field(default_factory=time.monotonic)
    gone: bool = False

    @property
    def idle(self) -> bool:
        """It has no request under way."""
        return not self.outgoing and self.asked is None and not self.gone

    def read(self) -> None:
        """Take what it sent."""
        try:
            part = self.connection.recv(LONGEST_REQUEST)
        except BlockingIOError:
            return
        self.heard = time.monotonic()
        self.incoming += part
        self.gone = not part or len(self.incoming) > 2 * LONGEST_REQUEST or len(self._first()) > LONGEST_REQUEST

    def line(self) -> bytes | None:
        """The next whole line."""
        line = self._first()
        if not line.endswith(b"\n"):
            return None
        del self.incoming[: len(line)]
        return line

    def _first(self) -> bytes:
        end = self.incoming.find(b"\n") + 1
        return bytes(self.incoming[: end or None])

    def answer(self, line: bytes) -> None:
        """Send a line, as far as the client reads."""
        self.outgoing = line
        self.write()

    def write(self) -> None:
        """Send what is left."""
        with suppress(BlockingIOError):
            sent = self.connection.send(self.outgoing)
            self.outgoing = self.outgoing[sent:]


def _listening(path: Path) -> socket.socket:
    """A socket at ``path`` for this user alone, in place of what an engine left that is dead."""
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("no unix sockets on this system")
    draft = path.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with address(draft) as name:
            listener.bind(name)
        draft.chmod(0o600)  # nobody can connect before it listens
        listener.setblocking(False)
        listener.listen(MOST_CLIENTS)
        draft.replace(path)
    except BaseException:
        listener.close()
        draft.unlink(missing_ok=True)
        raise
    return listener


def _who(connection: socket.socket) -> str:
    if sys.platform != "linux":
        return ""
    with suppress(OSError):
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return f"process {pid} of user {uid}"
    return ""
