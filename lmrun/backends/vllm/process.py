"""A vLLM engine in a process of its own, as its parent sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from lmrun.backends.vllm.messages import Failed, Ready, Start
from lmrun.backends.vllm.questions import Question, Reply

_QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    # The engine has this process to itself; one more between it and the model would only cost time.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # One token is generated behind the longest input, and never fed back.
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
}
_GRACE = 10.0
"""Seconds that an engine has to free its devices before it is killed."""
_TAIL = 4000
"""Characters at the end of the log in which the cause of a death is looked for."""
_WAITING = 2
"""So many times the sequences that the engine works on are with it: it never waits for its parent."""


class EngineDied(Exception):  # noqa: N818 - it is the engine that is in error
    """The engine answers no more."""

    def __init__(self, message: str, *, started: bool, out_of_memory: bool) -> None:
        super().__init__(message)
        self.started = started
        """It had come up."""
        self.out_of_memory = out_of_memory


class Engine:
    """One engine; starting it returns at once, and it says when it is ready.

    Args:
        start: what it is told first.
        log: file that gets everything it prints.
        environment: variables that it gets besides those of this process.
    """

    def __init__(self, start: Start, log: Path, environment: Mapping[str, str]) -> None:
        self.asked: OrderedDict[int, Question] = OrderedDict()
        """What it has not answered, by number, the oldest first."""
        self.ready: Ready | None = None
        self._log = log
        ours, theirs = socket.socketpair()
        with log.open("ab") as output, theirs:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-m", "lmrun.backends.vllm.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **_QUIET, **environment},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for this process alone: what is under way is finished
            )
        self.connection = Connection(ours.detach())
        self._send(start)

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    @property
    def room(self) -> int:
        """How many questions more it takes."""
        return max(0, self.ready.most_at_once * _WAITING - len(self.asked)) if self.ready else 0

    def ask(self, questions: Sequence[tuple[int, Question]]) -> None:
        """Hand questions over."""
        self.asked.update(questions)
        self._send(list(questions))

    def _send(self, message: object) -> None:
        with suppress(OSError):  # it has died: reading says why
            self.connection.send(message)

    def replies(self) -> list[tuple[int, Reply]]:
        """What it has said; nothing where that was that it is ready.

        Raises:
            EngineDied: that, or that it has died.
        """
        try:
            message: Any = self.connection.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        if isinstance(message, Failed):
            raise EngineDied(message.message, started=self.ready is not None, out_of_memory=message.out_of_memory)
        if isinstance(message, Ready):
            self.ready = message
            return []
        found: list[tuple[int, Reply]] = message
        for number, _ in found:
            del self.asked[number]
        return found

    def _died(self) -> EngineDied:
        try:
            code = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            code = 0
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        # A machine without memory left kills without a word.
        killed = code == -signal.SIGKILL
        return EngineDied(
            f"its process ended ({how}); the end of {self._log}: {self._last_words()}",
            started=self.ready is not None,
            out_of_memory=killed or "out of memory" in self._last_words().lower(),
        )

    def _last_words(self) -> str:
        text = self._log.read_text(encoding="utf-8", errors="replace")[-_TAIL:]
        return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing")

    def close(self) -> None:
        """End it, and all processes that it has started; its memory is free then."""
        if self.connection.closed:
            return
        self._send(None)
        self.connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE if self.ready and not self.asked else 0.0)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # the group may outlive its leader
        self._process.wait()


def speaking(engines: Sequence[Engine], timeout: float) -> list[Engine]:
    """Those of the engines that have something to say, as soon as one has."""
    ready = wait([engine.connection for engine in engines], timeout)
    return [engine for engine in engines if engine.connection in ready]


def log_file(folder: Path | None) -> Path:
    """The file for what engines print: in the folder of the run, or one that the system deletes some day."""
    if folder is None:
        handle, name = tempfile.mkstemp(prefix="lmrun-vllm-", suffix=".log")
        os.close(handle)
        return Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "vllm.log"
