"""What a process took: time, processor time and most memory."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int
    started: float
    """Unix seconds."""
    seconds: float
    cpu: float
    """Seconds of processor time."""
    rss: float
    """Most memory, in MB, with that of its children."""
    stdout: str
    stderr: str


def measured(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Ended:
    """Run a process to its end, and read its usage when it is reaped."""
    # A checkout is compiled at its first start, as installed packages are when they are installed.
    environment = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    with out.open("w") as stdout, err.open("w") as stderr:
        started = time.time()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stdout, stderr=stderr)
        peak = 0.0
        # Not `ru_maxrss`: on Linux a child inherits the peak of the process that started it.
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            peak = max(peak, _peak_memory(process.pid))
            time.sleep(0.05)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.time() - started
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
    return Ended(process.returncode, started, seconds, usage.ru_utime + usage.ru_stime, peak, *texts)


def _peak_memory(pid: int) -> float:
    """MB, the sum of the peaks of a process and its descendants; 0 where it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return 0.0
    own = next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)
    return own + sum(map(_peak_memory, children))
