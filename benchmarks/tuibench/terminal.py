"""A program in a terminal of its own: keys go in, and what it draws comes out."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

import psutil

QUIET = 0.03
"""Seconds without output after which a frame counts as complete."""


class Terminal:
    """A program that draws on 120 columns and 40 lines."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def until(self, words: str, patience: float = 120.0) -> float:
        """When the frame that shows these words was complete, as ``time.perf_counter`` says it."""
        seen, wanted, last = b"", words.encode(), 0.0
        deadline = time.perf_counter() + patience
        while wanted not in seen:
            if time.perf_counter() > deadline or (block := self._read(1.0)) is None:
                raise RuntimeError(f"{words!r} never came: {seen[-2000:]!r}")
            seen, last = seen + block, time.perf_counter()
        return self._rest(last)

    def press(self, keys: str, patience: float = 30.0) -> float:
        """Seconds from a key to the end of what it makes the program draw."""
        self._rest(0.0)
        begun = time.perf_counter()
        os.write(self._ours, keys.encode())
        block = self._read(patience)
        if not block:
            raise RuntimeError(f"{keys!r} draws nothing")
        return self._rest(time.perf_counter()) - begun

    def rest(self, seconds: float) -> None:
        """Take what is drawn for a while."""
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            self._read(left)

    @property
    def rss(self) -> float:
        """MB."""
        return float(psutil.Process(self._process.pid).memory_info().rss) / 1e6

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def _rest(self, last: float) -> float:
        while self._read(QUIET):
            last = time.perf_counter()
        return last

    def _read(self, seconds: float) -> bytes | None:
        """What comes; nothing if nothing does, None after the end."""
        if not select.select([self._ours], [], [], seconds)[0]:
            return b""
        try:
            return os.read(self._ours, 1 << 16) or None
        except OSError:
            return None
