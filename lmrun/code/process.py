"""The parent's side of the process that runs the code of tasks."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing.connection
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lmrun.code.failures import Failure
from lmrun.code.plain import load

log = logging.getLogger("lmrun.code")

_SECONDS_TO_START = 120.0
_SECONDS_TO_END = 3.0
_LOOK_EVERY_MS = 500
_LINE_LENGTH = 2000
_LINES_KEPT = 50
_LINES_LOGGED = 1000
_LINES_TOLD = 5
# The parent's own path, so that the code finds the packages that lmrun finds.
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from lmrun.code.host import main
main(int(sys.argv[2]), sys.argv[3:])
"""


class CodeError(Exception):
    """Code of a task that gave no value."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class HostDiedError(CodeError):
    """The process ended while it ran the code, or could not start."""


class HostProcess:
    """One child process; started at once, and gone after the first call that it dies of."""

    def __init__(self, trusted: Sequence[Path], environment: Mapping[str, str]) -> None:
        """Raises :class:`HostDiedError` if it cannot start."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = self._start(theirs.fileno(), trusted, environment)
            except OSError as error:
                ours.close()
                raise HostDiedError(Failure(f"cannot start {sys.executable or 'Python'}: {error.strerror}")) from error
        self._connection = multiprocessing.connection.Connection(ours.detach())
        self._readable = select.poll()
        self._readable.register(self._connection.fileno(), select.POLLIN)
        self._said: deque[str] = deque(maxlen=_LINES_KEPT)
        assert self._process.stdout is not None
        self._listener = threading.Thread(target=_listen, args=(self._process.stdout, self._said), daemon=True)
        self._listener.start()
        self._end = weakref.finalize(self, _end, self._process, self._connection, self._listener)
        self._read(time.monotonic() + _SECONDS_TO_START)

    @staticmethod
    def _start(descriptor: int, trusted: Sequence[Path], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        arguments = [json.dumps(sys.path), str(descriptor), *map(str, trusted)]
        return subprocess.Popen(
            [sys.executable or "", "-c", _START, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(descriptor,),
            env={**os.environ, **environment},
            start_new_session=True,  # the terminal's Ctrl-C is for lmrun, which decides what to do
        )

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return self._end.alive

    def request(self, operation: str, *args: Any) -> Any:
        """The value of an operation of :class:`lmrun.code.host.Host`. Raises :class:`CodeError`."""
        message = pickle.dumps((operation, args), pickle.HIGHEST_PROTOCOL)
        try:
            self._connection.send_bytes(message)
        except OSError:
            raise self._died() from None
        except BaseException:
            self.close()
            raise
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._end()

    def _read(self, deadline: float | None = None) -> Any:
        try:
            while not self._readable.poll(_LOOK_EVERY_MS):
                if self._process.poll() is not None or (deadline and time.monotonic() > deadline):
                    raise self._died()
            succeeded, value = load(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise self._died() from None
        except BaseException:
            # An answer that nobody waits for would be taken for that of the next request.
            self.close()
            raise
        if not succeeded:
            raise CodeError(Failure(*value))
        return value

    def _died(self) -> HostDiedError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SECONDS_TO_END)
        ended = _how_it_ended(self._process.poll())
        self.close()
        # Of the stack that a crash prints, the frames above the code are ours.
        said = [line for line in self._said if str(Path(__file__).parent) not in line and "<string>" not in line]
        return HostDiedError(Failure(f"its process {ended}", "; ".join(said[-_LINES_TOLD:]) or None))


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "does not answer"
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _listen(output: IO[bytes], said: deque[str]) -> None:
    """What the code prints goes into the log, up to a limit; the last lines are told where the process dies."""
    logged = 0
    with output:
        while line := output.readline(_LINE_LENGTH):
            text = line.decode("utf-8", "replace").rstrip()
            if not text:
                continue
            said.append(text)
            logged += 1
            if logged <= _LINES_LOGGED:
                log.debug("task code: %s", text)
            elif logged == _LINES_LOGGED + 1:
                log.debug("task code: what it prints from here on is left out")


def _end(
    process: subprocess.Popen[bytes], connection: multiprocessing.connection.Connection, listener: threading.Thread
) -> None:
    connection.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_SECONDS_TO_END)
    # What the code itself started is in the same group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    listener.join(_SECONDS_TO_END)
