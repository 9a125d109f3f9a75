"""Servers as processes: started, waited for, and ended with their children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_GRACE = 20.0
"""Seconds that a server has to end by itself."""


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    url: str
    """Without a path."""
    model: str
    """Name under which it serves the model."""

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A server in a process group of its own, with its output in a file."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process: subprocess.Popen[Any] = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_for(self, url: str, seconds: float) -> None:
        """Return once ``url`` answers; a server that ends or never does is an error with the end of its output."""
        until = time.monotonic() + seconds
        while not _answers(url):
            assert self._process.poll() is None, f"the server ended with {self._process.returncode}:\n{self._tail()}"
            assert time.monotonic() < until, f"the server is not ready after {seconds:.0f} s:\n{self._tail()}"
            time.sleep(0.2)

    def end(self) -> None:
        """Ask it to end, then make it and all its children end."""
        family = self._family()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        _, alive = psutil.wait_procs(family, timeout=_GRACE)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=_GRACE)
        self._process.wait(_GRACE)

    def _family(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _tail(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-4000:]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False
