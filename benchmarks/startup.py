"""Start-up: help, listing tasks, and a rerun from a full cache; lmrun and lm-eval in turn, medians of several runs.

``LMRUN_LMEVAL_PYTHON`` names the Python of an environment with lm-eval; without it, lmrun is measured alone.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

REPEATS = 5


def seconds(command: Sequence[str], folder: Path, repeats: int = REPEATS) -> float:
    """Median wall time of a command, which must succeed."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def row(what: str, ours: float, theirs: float | None) -> str:
    """One line of the table."""
    peer = f"{theirs:9.2f} s  {theirs / ours:6.1f} x" if theirs is not None else "        –"
    return f"{what:34}  {ours:7.2f} s  {peer}"


def main() -> None:
    """Measure and print."""
    root = Path(__file__).parents[1]
    os.environ["PYTHONPATH"] = str(root)
    lmrun = [sys.executable, "-m", "lmrun"]
    peer = os.environ.get("LMRUN_LMEVAL_PYTHON")
    lm_eval = [peer, "-m", "lm_eval"] if peer else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["LMRUN_CACHE_DIR"] = str(folder / "derived")
        print(f"{'':34}  {'lmrun':>9}  {'lm-eval':>11}  {'ratio':>8}")
        print(
            row(
                "--help",
                seconds([*lmrun, "--help"], folder),
                seconds([*lm_eval, "--help"], folder) if lm_eval else None,
            )
        )
        if peer and lm_eval:
            found = subprocess.run(
                [peer, "-c", "import lm_eval.tasks as t; print(t.__path__[0])"],
                capture_output=True,
                text=True,
                check=True,
            )
            listing = [*lmrun, "ls", "tasks", "--tasks-path", found.stdout.strip()]
            cold = seconds(listing, folder, 1)
            theirs = seconds([*lm_eval, "ls", "tasks"], folder, 1)
            print(row("ls tasks, all of lm-eval's, first", cold, theirs))
            print(row("ls tasks, all of lm-eval's, again", seconds(listing, folder), theirs))
        batch = [*lmrun, "batch", "quickstart"]
        print(row("quickstart, nothing cached", seconds(batch, folder, 1), None))
        print(row("quickstart, everything cached", seconds([*batch, "--fresh"], folder), None))


if __name__ == "__main__":
    main()
